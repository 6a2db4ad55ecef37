"""`kill -9` of an erasure or a deletion at random moments: nothing half gone is reported as done, and running it again
finishes it."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from tests.end_to_end.conftest import PEOPLE, UNTIL_ANNOTATORS, VOTES, Project, copied, entries, names

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow, pytest.mark.xdist_group("privacy")]
PERSON = "ann-secret-7"
ERASE = ("privacy", "erase", PERSON, "--json")
KILLS = 6


def journals(project: Project) -> list[Path]:
    folder = project.folder / ".attestrl/privacy"
    return [*folder.glob("erasing-*.json"), *folder.glob("deleting-*.json")]


def start(project: Project, command: tuple[str, ...] = ERASE) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *command],
        cwd=project.folder,
        env=project.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def until_journal(project: Project, erasing: subprocess.Popen[str]) -> None:
    while not journals(project) and erasing.poll() is None:
        time.sleep(0.001)


def holds(project: Project, pseudonym: str) -> list[str]:
    return [n for n in names(project, pseudonym) if "/.attestrl/privacy/" not in n]


def test_killed_at_random_moments_it_finishes_when_run_again(vendor_made: Project, tmp_path: Path) -> None:
    seed = int(os.environ.get("ATTESTRL_KILL_SEED", random.SystemRandom().randrange(10**6)))
    print(f"ATTESTRL_KILL_SEED={seed}")
    rng = random.Random(seed)
    whole = copied(vendor_made, tmp_path / "whole")
    bundle = str(tmp_path / "before.zip")
    assert whole.attestrl("evidence", "export", "latest", "--out", bundle).returncode == 0
    before = set(pl.read_parquet(whole.folder / "data/interim/valid/votes.parquet")["annotator_id"])
    begun = time.monotonic()
    erasing = start(whole)
    until_journal(whole, erasing)
    looked = time.monotonic()
    assert erasing.wait() == 0
    removing = time.monotonic() - looked
    (pseudonym,) = (p for p in before if p in (whole.folder / ".attestrl/privacy/erased.json").read_text())
    assert holds(whole, pseudonym) == []
    print(f"undisturbed: {looked - begun:.1f} s until the first file goes, {removing:.2f} s from then on")

    unfinished = 0
    for number in range(KILLS):
        project = copied(vendor_made, tmp_path / f"killed-{number}")
        erasing = start(project)
        if number:  # the first at any moment, the others while files go
            until_journal(project, erasing)
            moment = rng.random() ** 2 * removing  # more often early, while there is much to remove
        else:
            moment = rng.random() * (looked - begun)
        time.sleep(moment)
        erasing.send_signal(signal.SIGKILL)
        said = erasing.communicate()[0]
        left, done = holds(project, pseudonym), entries(project, "privacy.erased")
        print(
            f"killed after {moment:.2f} s: {len(left)} files left, {len(done)} recorded, journal {bool(journals(project))}"
        )
        assert not (left and (done or said)), "half erased and reported as done"
        if journals(project) and left:
            unfinished += 1
            if unfinished == 1:
                run = project.run(*UNTIL_ANNOTATORS)
                assert (run["status"], run["exit_code"]) == ("failed", 1)
                assert "the same `attestrl privacy erase` as before" in run["message"]
        again = project.attestrl(*ERASE)
        assert again.returncode == 0, again.stderr
        assert "erasure" in json.loads(again.stdout)
        assert holds(project, pseudonym) == []
        assert journals(project) == []
        assert len(entries(project, "privacy.erased")) == 1
        assert project.attestrl("ledger", "verify").returncode == 0
        assert project.attestrl("evidence", "verify", bundle).returncode == 0
    print(f"{unfinished} of {KILLS} were killed with rows left")


def test_a_deletion_that_was_killed_goes_on_and_is_recorded_once(vendor_made: Project, tmp_path: Path) -> None:
    seed = int(os.environ.get("ATTESTRL_KILL_SEED", random.SystemRandom().randrange(10**6)))
    print(f"ATTESTRL_KILL_SEED={seed}")
    project = copied(vendor_made, tmp_path / "killed")
    source = project.folder / VOTES
    source.with_name("retention.yaml").write_text("retain_until: 2020-01-31\naction: delete\n", encoding="utf-8")
    people = pl.read_parquet(project.folder / "data/interim/valid/votes.parquet")["annotator_id"].unique().to_list()
    act = ("privacy", "retention", "--act", "--json")
    for rng in (random.Random(seed), random.Random(seed + 1)):
        deleting = start(project, act)
        until_journal(project, deleting)
        time.sleep(rng.random() ** 2)
        deleting.send_signal(signal.SIGKILL)
        said = deleting.communicate()[0]
        left = [n for p in people for n in holds(project, p)]
        assert not (left and said), "half deleted and reported as done"
        assert len(entries(project, "retention.deleted")) <= (0 if left else 2)
    kept = {file: file.read_bytes() for file in journals(project)}
    done = project.attestrl(*act)
    assert done.returncode == 0, done.stderr
    assert {r["state"] for r in json.loads(done.stdout) if r["source"] in (VOTES, PEOPLE)} == {"deleted"}
    assert [n for p in people for n in holds(project, p)] == []
    assert journals(project) == []
    recorded = [e.data["source"] for e in entries(project, "retention.deleted")]
    assert sorted(recorded) == [PEOPLE, VOTES]
    for file, content in kept.items():  # as a kill leaves it after the entry and before the journal's end
        file.write_bytes(content)
    assert project.attestrl(*act).returncode == 0
    assert journals(project) == []
    assert len(entries(project, "retention.deleted")) == 2
    assert project.attestrl("ledger", "verify").returncode == 0
