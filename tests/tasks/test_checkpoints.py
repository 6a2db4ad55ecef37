"""Checkpoints are whole or absent, and only a training's own are taken."""

import json
import os
from pathlib import Path

import pytest
import torch

from governance.errors import MissingComponent
from tasks.checkpoints import Checkpoints
from tests.conftest import needs_namespaces, on_small_disk

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "rng": torch.arange(5, dtype=torch.uint8)}


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkpoints:
    monkeypatch.setenv("ATTESTRL_HOME", str(tmp_path / "home"))
    return Checkpoints("ppo", {"seed": 7}, keep=2)


def test_the_newest_comes_back_as_it_was_and_the_oldest_go(checkpoints: Checkpoints) -> None:
    assert checkpoints.latest() is None
    for step in (2, 4, 10):
        checkpoints.save(step, TENSORS, {"lr": 0.1 / step, "history": [{"x": 1 / 3}]})
    assert sorted(p.name for p in checkpoints.folder.iterdir()) == ["checkpoint-10", "checkpoint-4"]
    found = checkpoints.latest()
    assert found is not None
    assert (found.step, found.state) == (10, {"lr": 0.01, "history": [{"x": 1 / 3}]})
    assert all(torch.equal(found.tensors[k], v) and found.tensors[k].dtype == v.dtype for k, v in TENSORS.items())
    checkpoints.remove()
    assert checkpoints.latest() is None


@pytest.mark.parametrize("damage", ["short tensors", "short state", "no state", "no tensors", "other bytes", "foreign"])
def test_a_damaged_or_foreign_one_is_refused_and_the_one_before_taken(checkpoints: Checkpoints, damage: str) -> None:
    checkpoints.save(1, TENSORS, {})
    checkpoints.save(2, TENSORS, {})
    folder = checkpoints.folder / "checkpoint-2"
    tensors, state = folder / "tensors.safetensors", folder / "state.json"
    match damage:
        case "short tensors":
            tensors.write_bytes(tensors.read_bytes()[:-1])
        case "short state":
            state.write_bytes(state.read_bytes()[:-10])
        case "no state":
            state.unlink()
        case "no tensors":
            tensors.unlink()
        case "other bytes":
            tensors.write_bytes(tensors.read_bytes()[:-1] + b"\x07")
        case "foreign":
            other = Checkpoints("ppo", {"seed": 8}, keep=2)
            other.save(2, TENSORS, {})
            assert other.folder != checkpoints.folder
            state.write_bytes((other.folder / "checkpoint-2/state.json").read_bytes())
    found = checkpoints.latest()
    assert found is not None and found.step == 1
    assert len(checkpoints.refused) == 1
    assert str(folder) in checkpoints.refused[0]


def test_a_half_written_one_is_cleared_away(checkpoints: Checkpoints) -> None:
    checkpoints.save(1, TENSORS, {})
    half = checkpoints.folder / ".checkpoint-2.partial"
    half.mkdir()
    (half / "tensors.safetensors").write_bytes(b"half")
    found = checkpoints.latest()
    assert found is not None and found.step == 1
    assert not half.exists()
    assert not checkpoints.refused


def test_a_folder_that_cannot_be_written_is_a_sentence(checkpoints: Checkpoints) -> None:
    checkpoints.folder.parent.mkdir(parents=True)
    checkpoints.folder.write_text("in the way")
    with pytest.raises(MissingComponent, match="checkpoint of step 3 cannot be written"):
        checkpoints.save(3, TENSORS, {})


@needs_namespaces
def test_a_disk_that_fills_up_while_one_is_written_is_a_sentence(tmp_path: Path) -> None:
    """A file system of 64 KiB: the first is whole, the second is not there, and neither is half of it."""
    code = (
        "import torch; from tasks.checkpoints import Checkpoints; c = Checkpoints('ppo', {}, keep=2)\n"
        "for step in (1, 2): c.save(step, {'w': torch.zeros(10_000)}, {})\n"
    )
    script = 'ATTESTRL_HOME=small "$@" || true; find small/checkpoints'
    done = on_small_disk("64k", script, code, cwd=tmp_path)
    assert "MissingComponent" in done.stderr and "checkpoint of step 2 cannot be written" in done.stderr
    assert "checkpoint-1/state.json" in done.stdout
    assert "checkpoint-2" not in done.stdout


def test_trainings_that_nobody_came_back_to_go(checkpoints: Checkpoints) -> None:
    others = [Checkpoints("ppo", {"seed": seed}, keep=2) for seed in (100, 101, 102)]
    elsewhere = Checkpoints("sft", {"seed": 100}, keep=2)
    for age, training in enumerate((checkpoints, *others, elsewhere)):
        training.save(1, TENSORS, {})
        os.utime(training.folder, (age, age))
    assert checkpoints.latest() is not None  # the oldest of them, and the one that runs
    kept = sorted(p.name for p in checkpoints.folder.parent.iterdir())
    assert kept == sorted([checkpoints.identity, others[-1].identity])
    assert elsewhere.folder.exists()


def test_state_is_json_and_names_the_training(checkpoints: Checkpoints) -> None:
    checkpoints.save(5, TENSORS, {"pending": [3, 1]})
    record = json.loads((checkpoints.folder / "checkpoint-5/state.json").read_text(encoding="utf-8"))
    assert record["identity"] == checkpoints.identity
    assert set(record) == {"step", "identity", "sha256", "state"}
