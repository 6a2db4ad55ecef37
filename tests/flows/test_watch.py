"""What the eyes of the triggers see: real git repositories, a real DVC remote, files, the ledger, a hub."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from flows import watch
from flows.watch import Watcher
from governance.causes import begin
from governance.digest import sha256_path, write_json
from governance.entry import Event
from governance.ledger import Ledger
from tasks import params, paths
from tasks.review_store import ReviewStore
from tests.flows.conftest import ROOT
from tests.local_hub import COMMIT, local_hub


def run(folder: Path, *command: str) -> None:
    environment = os.environ | {"DVC_NO_ANALYTICS": "1", "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@localhost"}
    environment |= {"GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@localhost"}
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    (folder / "data/raw").mkdir(parents=True)
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy2(ROOT / name, folder / name)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("ATTESTRL_HOME", str(folder / ".attestrl"))
    return folder


def change(section: str, **values: Any) -> params.Params:
    settings = yaml.safe_load(paths.PARAMS.read_text())
    settings.setdefault(section, {}).update(values)
    paths.PARAMS.write_text(yaml.safe_dump(settings))
    return params.load(paths.PARAMS)


@pytest.fixture
def ledger(here: Path) -> Ledger:
    return Ledger(here / ".attestrl/ledger.jsonl")


@pytest.fixture
def due(ledger: Ledger) -> Callable[[], list[tuple[str, dict[str, str]]]]:
    said: list[str] = []
    watcher = Watcher(said.append)

    def look() -> list[tuple[str, dict[str, str]]]:
        found = [(c.kind, c.identity) for c in watcher.due(ledger)]
        assert said == []
        return found

    return look


def had(ledger: Ledger, run_id: str = "run-1") -> None:
    """A run, as far as the finders care."""
    data = {"parameters": {}, "changed": [], "versions": watch.versions(params.load(paths.PARAMS))}
    ledger.append(Event.RUN_STARTED, run_id=run_id, actor="user:a", subject_digests={}, data={"cause": None})
    ledger.append(Event.CONFIGURATION, run_id=run_id, actor="user:a", subject_digests={}, data=data)


def test_nothing_is_due_before_the_first_run(due: Any) -> None:
    assert due() == []


def test_a_data_version_is_due_once_it_is_in_the_remote(here: Path, ledger: Ledger, due: Any, tmp_path: Path) -> None:
    """A colleague's clone pushes; this one sees it, and brings it."""
    remote, origin, theirs = tmp_path / "remote", tmp_path / "origin.git", tmp_path / "theirs"
    dvc = [sys.executable, "-m", "dvc"]
    pairs = here / "data/raw/pairs.jsonl"
    change("ingest", preferences="data/raw/pairs.jsonl", audits={})
    pairs.write_text("one\n")
    run(tmp_path, "git", "init", "-q", "--bare", str(origin))
    for command in (
        ["git", "init", "-q", "-b", "main"],
        [*dvc, "init", "-q"],
        [*dvc, "remote", "add", "-d", "r", str(remote)],
    ):
        run(here, *command)
    run(here, *dvc, "add", "-q", "data/raw/pairs.jsonl")
    for command in (
        ["add", "-A"],
        ["commit", "-qm", "x"],
        ["remote", "add", "origin", str(origin)],
        ["push", "-qu", "origin", "main"],
    ):
        run(here, "git", *command)
    had(ledger)
    assert due() == []
    run(tmp_path, "git", "clone", "-q", "-b", "main", str(origin), str(theirs))
    (theirs / "data/raw/pairs.jsonl").write_text("one\ntwo\n")
    run(theirs, *dvc, "add", "-q", "data/raw/pairs.jsonl")
    run(theirs, "git", "commit", "-qam", "y")
    run(theirs, "git", "push", "-q")
    assert due() == []  # its name is there, its bytes are not
    run(theirs, *dvc, "push", "-q")
    ((kind, identity),) = due()
    assert (kind, identity["path"]) == ("data", "data/raw/pairs.jsonl.dvc")
    (cause,) = Watcher(print).due(ledger)
    begin(ledger, cause, "run-2", "trigger:x", until="evaluate")
    assert due() == []
    watch.bring(cause)
    assert pairs.read_text() == "one\ntwo\n"
    had(ledger, "run-3")
    assert due() == []


def votes(n: int) -> None:
    rows = {
        "item_id": [f"i{k // 3}" for k in range(n)],
        "annotator_id": [f"a{k % 3}" for k in range(n)],
        "choice": [1] * n,
    }
    pl.DataFrame(rows).write_csv("data/raw/votes.csv")


@pytest.mark.parametrize(
    ("limits", "few", "enough"), [({"number": 30, "share": 9.0}, 129, 130), ({"number": 999, "share": 0.5}, 149, 150)]
)
def test_votes_are_due_beyond_a_number_or_a_share(
    here: Path, due: Any, limits: dict[str, Any], few: int, enough: int
) -> None:
    change("ingest", votes="data/raw/votes.csv")
    change("triggers", votes=limits)
    votes(100)
    assert due() == []  # nothing was read so far
    table = {"votes": {"rows": 120, "of_rounds": 20, "source": "data/raw/votes.csv"}}
    write_json(paths.report("ingest") / "record.json", {"notes": {"tables": table}})
    assert due() == []
    votes(few)
    assert due() == []
    votes(enough)
    assert due() == [("votes", {"path": "data/raw/votes.csv", "sha256": sha256_path(Path("data/raw/votes.csv"))})]
    change("triggers", votes=None)
    assert due() == []


def test_a_file_of_labels_that_is_dropped_is_due_until_a_run_has_read_it(here: Path, due: Any) -> None:
    (here / "data/raw/rounds").mkdir()
    labels, record = Path("data/raw/rounds/round-1.jsonl"), paths.report("ingest") / "record.json"
    labels.write_text("{}\n")
    assert due() == []  # nothing was read so far
    write_json(record, {"inputs": {"data/raw/pairs.jsonl": "0"}})
    assert due() == [("labels", {"path": labels.as_posix(), "sha256": sha256_path(labels)})]
    change("triggers", labels=False)
    assert due() == []
    change("triggers", labels=True)
    write_json(record, {"inputs": {labels.as_posix(): sha256_path(labels)}})
    assert due() == []


def test_a_round_is_due_when_people_have_answered_all_of_it(here: Path, due: Any) -> None:
    prompt = [{"role": "user", "content": "Why?"}]
    pairs = [{"prompt": prompt, "responses": [f"a{k}", f"b{k}"], "scores": [0.0, 0.0], "at_random": True} for k in "12"]
    write_json(paths.home() / "rounds/round-1.json", {"policy": "0", "run_id": "run-1", "pairs": pairs})
    queue = ReviewStore(paths.review_queue())
    asked = {"why": "which answer is better?", "priority": 0.0, "gold": None}
    queue.add("run-1", [{"prompt": p["prompt"], "responses": p["responses"], **asked} for p in pairs])
    answer = {"ratings": {}, "reason": "", "seconds": 1.0, "shown_order": [0, 1], "ranking": [1, 0]}
    found = []
    while item := queue.next("reviewer", time.time()):
        found.append(due())
        queue.answer(item.id, "reviewer", "s", answer)
    assert found == [[], []] and due() == [("labels", {"round": "1", "answered": "review"})]


def test_closed_incidents_and_alarms_are_due_until_a_run_begins(ledger: Ledger, due: Any) -> None:
    had(ledger)
    for event, data in ((Event.INCIDENT_CLOSED, {"incident_id": "inc-1"}), (Event.ALARM, {"alarm_id": "al-1"})):
        ledger.append(event, run_id="", actor="user:a", subject_digests={}, data=data)
    found = due()
    assert [(kind, next(iter(identity.values()))) for kind, identity in found] == [
        ("incident", "inc-1"),
        ("drift", "al-1"),
    ]
    had(ledger, "run-2")
    assert due() == []


def test_another_model_in_the_folder_is_due(here: Path, due: Any) -> None:
    model = here / "data/raw/base"
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"one")
    change("base", model="data/raw/base")
    write_json(paths.report("base") / "record.json", {"inputs": {"data/raw/base": sha256_path(Path("data/raw/base"))}})
    assert due() == []
    (model / "model.safetensors").write_bytes(b"two!")
    assert due() == [("base", {"model": "data/raw/base", "sha256": sha256_path(Path("data/raw/base"))})]
    change("triggers", base=False)
    assert due() == []


def test_a_new_revision_on_the_hub_is_due_and_becomes_the_base(
    here: Path, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hub/models/org/small").mkdir(parents=True)
    (tmp_path / "hub/models/org/small/config.json").write_text("{}")
    change("base", model="org/small", revision="main")
    with local_hub(tmp_path / "hub") as url:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        paths.BASE.mkdir(parents=True)
        for revision, count in ((COMMIT, 0), ("0" * 40, 1)):
            (paths.BASE / "lineage.json").write_text(json.dumps({"source": "org/small", "revision": revision}))
            found = Watcher(print).due(ledger)
            assert [c.identity for c in found] == [{"model": "org/small", "revision": COMMIT}] * count
        watch.bring(found[0])
    assert params.load(paths.PARAMS).base.revision == COMMIT
