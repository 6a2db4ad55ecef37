"""A run signs what it made; a model that the run before signed, and that is the same, is not read again for it."""

import shutil
from pathlib import Path

import pytest

pytest.importorskip("model_signing")

from flows import sealing, signing
from flows.stages import Outcome
from governance import model_signature
from governance.digest import sha256_path, write_json
from governance.entry import Event
from tasks import paths
from tests.conftest import ROOT

SFT, REWARD = paths.SFT, paths.REWARD


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project with a key and two models, which no run has signed."""
    shutil.copy2(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ATTESTRL_HOME", str(tmp_path / ".attestrl"))
    sealing.ledger().append(Event.RUN_STARTED, run_id="run-1", actor="user:a", subject_digests={}, data={})
    sealing.seal("user:a")
    for model in (SFT, REWARD):
        model.mkdir(parents=True)
        (model / "model.safetensors").write_text(f"content of {model.name}")


def run(number: int) -> list[Path]:
    """Sign both models as a run does, which has its record afterwards."""
    outcomes = [
        Outcome(m.name, "cached", outputs=[{"path": m.as_posix(), "sha256": sha256_path(m)}]) for m in (SFT, REWARD)
    ]
    folder = paths.home() / "records" / f"run-{number}"
    made = signing.sign(folder, outcomes, "user:a")
    write_json(folder / "run.json", {})
    return made


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the models that are read to be signed."""
    names: list[str] = []
    real = model_signature.sign
    monkeypatch.setattr(model_signature, "sign", lambda model, *rest: (names.append(model.name), real(model, *rest)))
    return names


def test_only_what_changed_is_signed_again(read: list[str]) -> None:
    first = run(1)
    assert read == ["sft", "reward"]
    second = run(2)
    assert read == ["sft", "reward"]
    assert [s.read_bytes() for s in second] == [s.read_bytes() for s in first]
    signing.check(second[0].parent.parent, {"sft": SFT, "reward": REWARD})
    (SFT / "model.safetensors").write_text("trained on")
    third = run(3)
    assert read == ["sft", "reward", "sft"]
    signing.check(third[0].parent.parent, {"sft": SFT, "reward": REWARD})


@pytest.mark.parametrize("damage", ["another model's", "cut", "gone"])
def test_a_signature_that_is_not_of_the_model_is_not_kept(read: list[str], damage: str) -> None:
    sft, reward = run(1)
    if damage == "another model's":
        shutil.copy2(reward, sft)
    elif damage == "cut":
        sft.write_bytes(sft.read_bytes()[:-40])
    else:
        sft.unlink()
    run(2)
    assert read == ["sft", "reward", "sft"]


def test_a_forged_signature_is_not_kept(read: list[str]) -> None:
    """The right files under the right key's name, and another's signature over other files."""
    sft, reward = run(1)
    text, other = sft.read_text(), reward.read_text()
    at, of = text.index('"sig"'), other.index('"sig"')
    end, until = text.index("}", at), other.index("}", of)
    sft.write_text(text[:at] + other[of:until] + text[end:])
    run(2)
    assert read == ["sft", "reward", "sft"]


def test_another_key_signs_everything_again(read: list[str]) -> None:
    run(1)
    sealing.notary().rotate("user:a", "yearly")
    folder = run(2)[0].parent.parent
    assert read == ["sft", "reward", "sft", "reward"]
    signing.check(folder, {"sft": SFT, "reward": REWARD})
