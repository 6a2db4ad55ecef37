"""What many tests share: a tiny language model made on the spot, and real preference pairs."""

import contextlib
import functools
import gc
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TRANSFORMERS_VERBOSITY="error")

if "PYTEST_XDIST_WORKER" in os.environ:  # threads of two workers that wait for each other's core by spinning
    os.environ["OMP_NUM_THREADS"] = "1"

import pytest

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Project

ROOT = Path(__file__).resolve().parents[1]
PAIRS = ROOT / "data/raw/hh_rlhf/pairs.jsonl"
ROWS = 160
needs_namespaces = pytest.mark.skipif(
    subprocess.run(["unshare", "--mount", "--map-root-user", "true"], capture_output=True, check=False).returncode != 0,
    reason="this machine does not let a user mount a file system",
)


def on_small_disk(size: str, script: str, code: str, *arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """Run a shell script in `cwd`, in which the folder `small` is a file system of that size; its "$@" runs the Python code
    with its arguments. For tests that need namespaces."""
    mounted = f"mkdir small; mount -t tmpfs -o size={size} tmpfs small; {script}"
    shell = ["unshare", "--mount", "--map-root-user", "sh", "-ec", mounted, "sh"]
    command = [*shell, sys.executable, "-c", code, *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=True)


LONGEST = (
    "pipeline",
    "privacy",
    "killed",
    "bad input",
    "evals",
    "stack",
    "test_num_processes.py",
    "test_killed_training.py",
    "workers",
)


def pytest_configure(config: pytest.Config) -> None:
    """xdist begins with the groups of the most tests, which are not the longest: the order below is better."""
    if config.pluginmanager.hasplugin("xdist"):
        config.option.loadscopereorder = False


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of one file run in one process, as they share what is slow to make; groups may span files. The longest
    groups begin, so that no worker is left alone with one at the end."""
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(item.path.name))
    items.sort(key=lambda item: _rank(next(item.iter_markers("xdist_group")).args[0]))


def _rank(group: str) -> int:
    return LONGEST.index(group) if group in LONGEST else len(LONGEST)


def pytest_collection_finish() -> None:
    keep_what_is_loaded()


def keep_what_is_loaded() -> None:
    """It stays: every training collects garbage, and would look through half a million objects for it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def no_store_of_an_earlier_test() -> None:
    """MLflow writes into the environment where it was told that its store is, and there a test would look for its own."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        os.environ.pop(name, None)


@pytest.fixture(scope="session")
def hh_rows() -> list[dict[str, Any]]:
    """The first real preference pairs: id, prompt, chosen, rejected (messages), …"""
    with PAIRS.open(encoding="utf-8") as lines:
        return [json.loads(line) for line, _ in zip(lines, range(ROWS), strict=False)]


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory: pytest.TempPathFactory, hh_rows: list[dict[str, Any]]) -> Path:
    """A randomly initialised Qwen2 (hidden 32, 2 layers, vocabulary 512) and its tokenizer. Copy it to change it."""
    import torch

    from tasks.rlhf.pretrain import PretrainConfig, build_model, train_tokenizer

    torch.manual_seed(0)
    config = PretrainConfig(vocab_size=512, hidden_size=32, layers=2, heads=2, kv_heads=1, intermediate_size=64)
    texts = (turn["content"] for row in hh_rows for turn in row["prompt"] + row["chosen"])
    tokenizer = train_tokenizer(texts, config.vocab_size)
    folder = tmp_path_factory.mktemp("model") / "tiny"
    build_model(config, tokenizer.pad_token_id, tokenizer.eos_token_id).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@functools.cache
def made_store() -> Path:
    """An empty MLflow store: making one takes five seconds, so it is kept for the next tests, too."""
    from mlflow import MlflowClient

    kept = ROOT / f".pytest_cache/mlflow-{version('mlflow')}.db"
    if not kept.is_file():
        kept.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as name, contextlib.chdir(name):
            MlflowClient(f"sqlite:///{name}/mlflow.db").search_experiments()
            Path("mlflow.db").replace(kept)
    return kept


def give_store(folder: Path) -> None:
    """Put an MLflow store into a project folder that has none."""
    store = folder / ".attestrl/mlflow.db"
    if not store.exists():
        store.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(made_store(), store)


def run_stage_in(folder: Path, stage: str, **sections: dict[str, Any]) -> dict[str, Any]:
    """Run one stage inside this process in a project folder, with changed sections of its params.yaml; its record."""
    import yaml

    from tasks.stage import execute

    file = folder / "params.yaml"
    before = file.read_text(encoding="utf-8")
    give_store(folder)
    settings = yaml.safe_load(before)
    for name, section in sections.items():
        settings[name] |= section
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATTESTRL_HOME", str(folder / ".attestrl"))  # another test's command may have set its own
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)  # MLflow sets it when it is told where the store is
        file.write_text(yaml.safe_dump(settings), encoding="utf-8")
        try:
            execute(stage, importlib.import_module(f"tasks.{stage}").body)
        finally:
            file.write_text(before, encoding="utf-8")
        return json.loads(Path(f"data/reports/{stage}/record.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def trained_project(tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path, hh_rows: list[Any]) -> Path:
    """A project folder in which base, sft and reward ran on few real pairs and the tiny model."""
    import polars as pl
    import yaml

    folder = tmp_path_factory.mktemp("trained")
    settings = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    settings["base"]["model"] = str(tiny_model_folder)
    for stage in ("sft", "reward"):
        settings[stage] |= {"epochs": 1, "batch": 8, "max_length": 96, "learning_rate": 0.002}
    (folder / "params.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    processed = folder / "data/processed"
    processed.mkdir(parents=True)
    sides = {"sft": hh_rows[:40], "reward_train": hh_rows[40:80], "judge_train": hh_rows[80:110]}
    sides["reward_test"] = hh_rows[110:]
    for side, rows in sides.items():
        table = pl.DataFrame(rows).with_columns(weight=pl.lit(1.0), margin=pl.lit(None, dtype=pl.Float64))
        if side == "sft":
            table = table.select("id", pl.concat_list("prompt", "chosen").alias("messages"), "source")
        table.write_parquet(processed / f"{side}.parquet")
    for stage in ("base", "sft", "reward"):
        run_stage_in(folder, stage)
    keep_what_is_loaded()  # by the stages
    return folder


@pytest.fixture(scope="session")
def orchestrator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a Prefect server that lives as long as the tests."""
    from flows.servers import prefect_server

    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PREFECT_HOME", str(tmp_path_factory.mktemp("prefect")))
            url = stack.enter_context(prefect_server())()
        yield url


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path, orchestrator: str) -> "Project":
    """A project with a shrunken configuration (`tests.end_to_end.conftest`), after its first run."""
    from tests.end_to_end.conftest import FOLDER, Project, copied, small_project
    from tests.end_to_end.kept import kept

    def make(folder: Path) -> None:
        record = first_run(small_project(folder, tiny_model_folder, orchestrator))
        (folder / "first.json").write_text(json.dumps(record), encoding="utf-8")

    made = Project(kept("pipeline", make) / FOLDER, orchestrator)
    return copied(made, tmp_path_factory.mktemp("end to end") / "copy")


def first_run(project: "Project") -> dict[str, Any]:
    """Undisturbed: from a folder below, for a user without a server, whose home is read-only, far from UTC, who shares
    nothing."""
    from tests.typed import clean_environment

    started = time.monotonic()
    elsewhere = clean_environment() | {"HOME": "/proc", "TZ": "Asia/Kathmandu"}
    arguments = ("run", "--json", "--params", "../tiny.yaml")
    done = project.attestrl(*arguments, cwd=project.folder / "docs", env=elsewhere, umask=0o077)
    assert done.stdout, done.stderr[-4000:]
    (project.folder.parent / "first.err").write_text(done.stderr, encoding="utf-8")
    record: dict[str, Any] = json.loads(done.stdout)
    assert record["status"] == "done", record["message"] or record["gate"]
    assert time.monotonic() - started < 120 * 2  # two minutes, and as much again beside the other tests
    return record


@pytest.fixture(scope="session")
def first(project: "Project") -> dict[str, Any]:
    """Record of the project's first run."""
    record: dict[str, Any] = json.loads((project.folder.parent / "first.json").read_text(encoding="utf-8"))
    return record


@pytest.fixture(scope="session")
def judged(first: dict[str, Any], project: "Project") -> tuple[dict[str, Any], dict[str, Any]]:
    """Records of two more runs, whose stages are cached: one that the gate refuses, one that it lets pass."""
    refused = project.run("--set", "gate.max_kl=900", "--set", "gate.min_win_rate_low=1.0")
    return refused, project.run("--params", "tiny.yaml")
