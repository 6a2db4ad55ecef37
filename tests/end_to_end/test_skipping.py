"""What a change makes again, and nothing more: the table below is the one in docs/architecture.md."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from governance.digest import sha256_path
from tasks.paths import STAGES
from tasks.splits import side_of, split_key
from tests.end_to_end.conftest import ROOT, Project, digests, made, mlflow_ids, outcomes
from tests.typed import clean_environment

pytestmark = [pytest.mark.end_to_end, pytest.mark.xdist_group("pipeline")]
EMPTY_FLOW = "from prefect import flow\n@flow\ndef empty(): pass\nempty()\n"
PREFERENCES = "data/raw/hh_rlhf/small.jsonl"
CHECKS = ["ingest", "validate", "annotators", "poisoning", "curate"]

SHORT = ("max_tokens=900", "max_new_tokens=8")


def sets(*assignments: str, section: str | None = None) -> list[str]:
    """Arguments that set these keys, of a section if one is named."""
    keys = [f"{section}.{a}" if section else a for a in assignments]
    return [word for key in keys for word in ("--set", key)]


FREE = ("nothing", "`gate.max_kl`")  # as in the runs of `judged`
# change: (arguments of `attestrl run`, what is done to the data before, the stages that are made again)
CHANGES: dict[str, tuple[list[str], Callable[[Project], None] | None, list[str]]] = {
    "`evaluate.bootstrap`": (["--set", "evaluate.bootstrap=150"], None, ["evaluate"]),
    "`ppo.kl_coef`": (["--set", "ppo.kl_coef=0.1"], None, ["ppo", "evaluate"]),
    "`lora.enabled`": (["--set", "lora.enabled=true"], None, ["sft", "reward", "ppo", "evaluate"]),
    "`base.model`": (
        ["--set", "base.model=data/raw/tiny/c"],
        None,
        ["base", "sft", "reward", "ppo", "evaluate"],
    ),
    "`method`": (["--set", "method=dpo"], None, ["ppo", "evaluate"]),
    "`oversight.pairs`": (
        [*sets("method=ppo"), *sets("pairs=4", "audit=4", "turns=1", *SHORT, section="oversight")],
        None,
        ["reward", "ppo", "evaluate"],
    ),
    "`process.solutions`": (
        [
            *sets("oversight.pairs=0"),
            *sets("solutions=12", "simulated=4", "epochs=1", "max_length=700", section="process"),
        ],
        None,
        ["reward", "ppo", "evaluate"],
    ),
    "`principles.revisions`": (
        [*sets("process.solutions=0"), *sets("revisions=4", "approved_by=A. Person", *SHORT, section="principles")],
        None,
        ["sft", "reward", "ppo", "evaluate"],
    ),
    "an answer on the side `reward_train`": (
        [],
        lambda project: change_an_answer(project, "reward_train"),
        [*CHECKS, "reward", "ppo", "evaluate"],
    ),
}
LONG = list(CHANGES)[2:]  # each trains again, most of them several models


def poorly(project: Project, *arguments: str) -> dict[str, Any]:
    """Run for a user without `HOME`, on one core."""
    environment = {name: value for name, value in project.environment.items() if name != "HOME"}
    core = {min(os.sched_getaffinity(0))}
    return project.run(*arguments, env=environment, preexec_fn=lambda: os.sched_setaffinity(0, core))


def change_an_answer(project: Project, side: str) -> None:
    """Another last sentence in one chosen answer whose prompt stands on `side`."""
    import yaml

    shares = yaml.safe_load((project.folder / "params.yaml").read_text(encoding="utf-8"))["ingest"]["shares"]
    file = project.folder / PREFERENCES
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    row = next(r for r in rows if side_of(split_key(r["prompt"]), shares) == side)
    row["chosen"][-1]["content"] += " I hope that this is of some use to you."
    file.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")


@pytest.mark.parametrize(
    "change", [pytest.param(change, marks=pytest.mark.slow if change in LONG else ()) for change in CHANGES]
)
def test_a_change_makes_again_what_depends_on_it(change: str, first: dict[str, Any], project: Project) -> None:
    """The rows make every stage between them, without `HOME` and on one core."""
    arguments, prepare, expected = CHANGES[change]
    before = {stage: json.loads(_record(project, stage).read_text())["mlflow_run_id"] for stage in STAGES}
    pairs = project.folder / PREFERENCES
    as_it_was = pairs.read_bytes()
    if prepare:
        prepare(project)
    record = poorly(project, *arguments)
    pairs.write_bytes(as_it_was)
    assert record["status"] == "done", record["message"]
    assert made(record) == expected
    for stage, run in mlflow_ids(record).items():
        assert (run == before[stage]) == (stage not in expected), stage


def test_nothing_and_a_bound_of_the_gate_make_nothing_again(
    first: dict[str, Any], judged: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    for record in judged:
        assert made(record) == []
        assert mlflow_ids(record) == mlflow_ids(first)


def test_the_documentation_has_the_same_table() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    section = text.split("### What re-runs what")[1].split("\n#")[0]
    (_, *rows) = re.findall(r"^\| ([^-].*?) \| (.+?) \|$", section, re.MULTILINE)
    assert dict(rows) == dict.fromkeys(FREE, "nothing") | {
        c: ", ".join(stages) for c, (_, _, stages) in CHANGES.items()
    }


@pytest.mark.slow  # a ratio of times wants a machine that does nothing else
def test_unchanged_costs_little_more_than_an_empty_flow(first: dict[str, Any], project: Project) -> None:
    """Side by side, twice each, because the other core may be busy; the better of both counts."""
    project.run()
    ours = min(_seconds(["-m", "flows.cli", "run", "--json"], project) for _ in range(2))
    empty = min(_seconds(["-c", EMPTY_FLOW], project) for _ in range(2))
    print(f"unchanged run {ours:.1f} s, empty flow {empty:.1f} s, ratio {ours / empty:.2f}")
    assert ours <= 1.5 * empty


def _seconds(arguments: list[str], project: Project) -> float:
    environment = clean_environment() | {
        "PREFECT_HOME": str(project.folder / ".attestrl/prefect"),
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    started = time.monotonic()
    subprocess.run([sys.executable, *arguments], cwd=project.folder, env=environment, capture_output=True, check=True)
    return time.monotonic() - started


@pytest.mark.slow
def test_dvc_alone_does_the_same_work(first: dict[str, Any], project: Project) -> None:
    """Without Prefect a coefficient that is changed back re-makes ppo and evaluate, and gives the bytes of the flow."""
    file = project.folder / "params.yaml"
    settings = file.read_text(encoding="utf-8")
    by_flow = digests(project.run())
    assert made(project.run("--set", "ppo.kl_coef=0.3")) == ["ppo", "evaluate"]
    before = {stage: sha256_path(_record(project, stage)) for stage in STAGES}
    file.write_text(settings, encoding="utf-8")
    dvc = subprocess.Popen(  # --no-run-cache: or DVC would bring the flow's bytes back
        [sys.executable, "-m", "dvc", "repro", "--no-run-cache"], cwd=project.folder, env=project.environment
    )
    while dvc.poll() is None and _record(project, "ppo").is_file():  # DVC takes away what a stage is to make
        time.sleep(0.1)
    beside = project.attestrl("run")
    assert (beside.returncode, dvc.poll()) == (3, None), beside.stderr[-2000:]
    assert "another DVC command is at work in this project; wait until it ends" in beside.stderr
    assert dvc.wait(timeout=300) == 0
    assert [stage for stage in STAGES if sha256_path(_record(project, stage)) != before[stage]] == ["ppo", "evaluate"]
    assert {path: sha256_path(project.folder / path) for path in by_flow} == by_flow
    assert outcomes(project.run()) == dict.fromkeys(STAGES, "cached")


def _record(project: Project, stage: str) -> Path:
    return project.folder / "data/reports" / stage / "record.json"
