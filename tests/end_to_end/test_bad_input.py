"""Bad input, through the commands that a person types: one sentence, its exit code, nothing half-written."""

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import needs_namespaces
from tests.end_to_end.conftest import Project, entries, half_written

pytestmark = [pytest.mark.end_to_end, pytest.mark.xdist_group("bad input")]

PAIR = {"prompt": "Which tea is green?", "chosen": "Sencha is.", "rejected": "None is."}
TALK = {"prompt": [{"role": "user", "content": "Tea?"}], "chosen": [{"role": "assistant", "content": "Yes."}]}
VOTE = {"item_id": "1", "annotator_id": "ann-7", "choice": 1}


def lines(*rows: Any) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


PREFERENCES: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "empty file": (b"", ("empty",)),
    "blank lines": (b"\n\n", ("no rows",)),
    "wrong column": (lines({"question": "?", "chosen": "a", "rejected": "b"}), ("line 1", "prompt")),
    "wrong type": (lines(PAIR, PAIR | {"chosen": 5}), ("line 2", "chosen")),
    "wrong margin": (lines(PAIR | {"margin": "much"}), ("line 1", "margin")),
    "invalid JSON": (lines(PAIR) + b'{"prompt": \n', ("line 2", "JSON")),
    "mixed formats": (lines(PAIR, {"prompt": "?", "responses": ["a", "b"], "ranking": [0, 1]}), ("line 2", "mixes")),
    "not UTF-8": (lines(PAIR) + b'{"prompt": "caf\xe9"}\n', ("UTF-8",)),
}
VOTES: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "empty votes": (b"", ("empty",)),
    "votes without annotators": (lines({"item_id": "1", "choice": 1}), ("line 1", "annotator_id")),
    "a choice among three": (lines(VOTE, VOTE | {"choice": 3}), ("line 2", "choice")),
    "one annotator": (lines(*(VOTE | {"item_id": str(i)} for i in range(20))), ("one annotator",)),
}


@pytest.fixture
def own(untouched: Project) -> Iterator[Project]:
    """The same project, with its params.yaml as it was afterwards. Nothing half-written is left, and no run open."""
    file = untouched.folder / "params.yaml"
    before = file.read_bytes()
    yield untouched
    file.write_bytes(before)
    assert half_written(untouched.folder) == []
    with sqlite3.connect(untouched.folder / ".attestrl/mlflow.db") as store:
        assert store.execute("select count(*) from runs where status = 'RUNNING'").fetchone() == (0,)


def refused(done: subprocess.CompletedProcess[str], code: int, words: tuple[str, ...]) -> None:
    """One sentence that holds the words, the exit code, no identifier of a person."""
    said = [line for line in done.stderr.splitlines() if line.startswith("attestrl: ")]
    assert done.returncode == code, done.stderr[-2000:]
    assert len(said) == 1, done.stderr[-2000:]
    for word in words:
        assert word in said[0], said[0]
    assert "ann-7" not in said[0]


@pytest.mark.parametrize("case", PREFERENCES)
def test_preferences_of_a_check(case: str, untouched: Project, tmp_path: Path) -> None:
    content, words = PREFERENCES[case]
    file = tmp_path / "pairs.jsonl"
    file.write_bytes(content)
    out = tmp_path / "out"
    done = untouched.typed("check", "poisoning", "--preferences", str(file), "--out", str(out))
    refused(done, 2, ("pairs.jsonl", *words))
    assert not out.exists()


@pytest.mark.parametrize("case", VOTES)
def test_votes_of_a_check(case: str, untouched: Project, tmp_path: Path) -> None:
    content, words = VOTES[case]
    file = tmp_path / "votes.jsonl"
    file.write_bytes(content)
    done = untouched.typed("check", "annotators", "--votes", str(file), "--out", str(tmp_path / "out"))
    refused(done, 2, ("votes.jsonl", *words))
    assert not (tmp_path / "out").exists()


def test_golden_items_that_nobody_voted_on(untouched: Project, tmp_path: Path) -> None:
    votes, golden = tmp_path / "votes.jsonl", tmp_path / "golden.csv"
    votes.write_bytes(lines(*(VOTE | {"annotator_id": f"ann-{k}"} for k in range(20))))
    golden.write_text("item_id,gold_choice\n77,1\n")
    arguments = ["--votes", str(votes), "--golden", str(golden), "--out", str(tmp_path / "out")]
    refused(untouched.typed("check", "annotators", *arguments), 2, ("golden.csv", "votes"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "ppo.kl_coef=-1"], ("ppo.kl_coef",)),
        (["--set", "ppo.no_such=1"], ("ppo.no_such",)),
        (["--until", "nowhere"], ("nowhere", "ingest")),
        (["--params", "absent.yaml"], ("absent.yaml",)),
        (["--set", "ingest.preferences=data/raw/absent.jsonl"], ("absent.jsonl",)),
        (["--set", "base.model=/no/such/model"], ("/no/such/model",)),
    ],
)
def test_parameters(arguments: list[str], words: tuple[str, ...], own: Project) -> None:
    refused(own.typed("run", *arguments), 2, words)


def test_an_edited_params_file(own: Project) -> None:
    file = own.folder / "params.yaml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("kl_coef: 0.05", "kl_coef: little\n  kl_coeff: 0.05"), encoding="utf-8")
    refused(own.typed("run"), 2, ("params.yaml", "ppo.kl_coef is wrong"))


def test_no_valid_pair(own: Project) -> None:
    """Every row says the same twice, so that none can train anything. What else the stage refuses takes the same way to the
    person."""
    file = own.folder / "data/raw/same.jsonl"
    file.write_bytes(lines(*(PAIR | {"prompt": f"{i}?", "rejected": PAIR["chosen"]} for i in range(30))))
    arguments = ["--params", "tiny.yaml", "--set", "ingest.preferences=data/raw/same.jsonl", "--until", "validate"]
    refused(own.attestrl("run", *arguments), 2, ("30", "pairs"))
    assert [p for p in (own.folder / "data/interim/valid").rglob("*") if p.is_file()] == []
    failed = entries(own, "stage.failed", "run.failed")[-2:]
    assert [(e.type, e.run_id) for e in failed] == [(t, failed[0].run_id) for t in ("stage.failed", "run.failed")]
    assert "pairs" in failed[1].data["message"]


@pytest.mark.slow  # tests/tasks/test_validate.py says the same of the stage alone
def test_duplicate_ids_are_named(own: Project) -> None:
    file = own.folder / "data/raw/twice.jsonl"
    file.write_bytes(lines(*(PAIR | {"id": "x" if i < 9 else str(i), "prompt": f"{i}?"} for i in range(30))))
    arguments = ["--params", "tiny.yaml", "--set", "ingest.preferences=data/raw/twice.jsonl", "--until", "validate"]
    refused(own.attestrl("run", *arguments), 2, ("share their id", "quarantine.jsonl"))
    assert [p for p in (own.folder / "data/interim/valid").rglob("*") if p.is_file()] == []


def test_a_hub_name_without_a_network(untouched: Project, tmp_path: Path) -> None:
    arguments = ["--preferences", "nobody/nothing", "--out", str(tmp_path / "out")]
    nowhere = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9"}  # where nobody listens
    done = untouched.attestrl("check", "poisoning", *arguments, env=untouched.environment | nowhere)
    refused(done, 3, ("nobody/nothing", "network"))


def test_a_prefect_server_that_is_not_there(own: Project) -> None:
    arguments = ["--params", "tiny.yaml", "--until", "ingest"]
    nobody = {"PREFECT_API_URL": "http://127.0.0.1:9/api"}
    refused(
        own.attestrl("run", *arguments, env=own.environment | nobody), 3, ("Prefect server", "127.0.0.1:9", "start it")
    )


def test_a_model_without_weights(own: Project) -> None:
    folder = own.folder / "data/raw/hollow"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    refused(own.typed("run", "--set", "base.model=data/raw/hollow"), 2, ("hollow", "safetensors"))


def base_without(token: str, own: Project) -> subprocess.CompletedProcess[str]:
    """The stage `base` on a model whose tokenizer lacks a token; through `dvc repro`, which needs no stage before, and
    with the receipt from which `attestrl run` takes sentence and exit code."""
    folder = shutil.copytree(own.folder / "data/raw/tiny/a", own.folder / f"data/raw/without-{token}")
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (folder / name).is_file():
            content = json.loads((folder / name).read_text(encoding="utf-8"))
            content.pop(token, None)
            (folder / name).write_text(json.dumps(content), encoding="utf-8")
    file = own.folder / "params.yaml"
    text = file.read_text(encoding="utf-8").replace("data/raw/attestrl-small", f"data/raw/without-{token}")
    file.write_text(text, encoding="utf-8")
    environment = own.environment | {"ATTESTRL_RECEIPT": str(receipt(own))}
    return own.python("-m", "dvc", "repro", "--single-item", "base", env=environment)


def receipt(own: Project) -> Path:
    return own.folder / "receipt.json"


@pytest.mark.parametrize(
    ("token", "says"),
    [
        ("eos_token", "its tokenizer has no EOS token that the model knows; set eos_token in tokenizer_config.json"),
        ("pad_token", "its tokenizer has no padding token; set base.pad_token"),
    ],
)
def test_a_tokenizer_without_a_token(token: str, says: str, own: Project) -> None:
    done = base_without(token, own)
    assert done.returncode != 0
    told = json.loads(receipt(own).read_text(encoding="utf-8"))
    assert (told["outcome"], told["exit_code"]) == ("failed", 2)
    assert f"without-{token}: {says}" in told["message"]
    assert not (own.folder / "data/models/base").exists()


def _mounted(script: str, project: Project) -> subprocess.CompletedProcess[str]:
    """Run a shell script in a mount namespace of its own, as its root."""
    command = ["unshare", "--mount", "--map-root-user", "sh", "-ec", script, "sh", sys.executable]
    return subprocess.run(
        command, cwd=project.folder, env=project.environment, capture_output=True, text=True, timeout=300, check=False
    )


@needs_namespaces
@pytest.mark.parametrize(("folder", "size"), [("data/interim", "64k"), (".attestrl", "300k"), (".dvc/cache", "16k")])
def test_a_full_disk(folder: str, size: str, own: Project) -> None:
    """The folder of a stage's outputs, of the state (where MLflow's store is to be made) or of DVC's cache is a small file
    system."""
    (own.folder / folder).mkdir(exist_ok=True)
    done = _mounted(
        f"mount -t tmpfs -o size={size} tmpfs {folder}\n"
        '"$1" -m flows.cli run --params tiny.yaml --until ingest || code=$?\n'
        f"find {folder} -type f | sed 's/^/left: /'\nexit $code",
        own,
    )
    refused(done, 3, ("disk is full",))
    assert "partial" not in done.stdout and ".tmp" not in done.stdout


@needs_namespaces
def test_a_read_only_folder(own: Project) -> None:
    done = _mounted(
        "mount --bind data data\nmount -o remount,bind,ro data\n"
        '"$1" -m flows.cli run --params tiny.yaml --until ingest',
        own,
    )
    refused(done, 3, ("read-only",))


def test_a_report_folder_that_is_a_file(untouched: Project, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("in the way")
    pairs = untouched.folder / "data/raw/hh_rlhf/small.jsonl"
    arguments = ["--preferences", str(pairs), "--out", str(tmp_path / "out" / "report")]
    refused(untouched.typed("check", "poisoning", *arguments), 2, ("out",))
