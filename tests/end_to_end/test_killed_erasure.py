"""`kill -9` of an erasure at random moments: nothing half erased is reported as done, and running it again finishes it."""

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

from tests.end_to_end.conftest import UNTIL_ANNOTATORS, Project, copied, entries, names

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow, pytest.mark.xdist_group("privacy")]
PERSON = "ann-secret-7"
ERASE = ("privacy", "erase", PERSON, "--json")
KILLS = 6


def journals(project: Project) -> list[Path]:
    return list((project.folder / ".attestrl/privacy").glob("erasing-*.json"))


def start(project: Project) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *ERASE],
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
