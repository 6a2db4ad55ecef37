"""Releases of real policies through the command: approval, containment of an incident, and a change of the base model.

Runs after test_records, in the same project, with coefficients of its own.
"""

import json
from typing import Any

import pytest

from tests.end_to_end.conftest import Project, entries, made, outcomes

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow, pytest.mark.xdist_group("pipeline")]
OTHER_BASE = ("--set", "base.model=data/raw/tiny/b")


def champion(project: Project) -> str | None:
    """Version that has the alias in the registry."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    client = MlflowClient(f"sqlite:///{project.folder}/.attestrl/mlflow.db")
    try:
        return str(client.get_model_version_by_alias("attestrl-policy", "champion").version)
    except MlflowException:
        return None


def approved(project: Project, *arguments: str) -> dict[str, Any]:
    """A run whose policy a person made champion."""
    record = project.run(*arguments)
    assert record["gate"]["verdict"] == "pass", record
    done = project.attestrl("approve", record["run_id"], "--reason", "figures looked at")
    assert done.returncode == 0, done.stderr
    assert champion(project) == record["policy"]["version"]
    return record


@pytest.fixture(scope="module")
def two(first: dict[str, Any], project: Project) -> list[dict[str, Any]]:
    """Two runs with different policies, each approved, the second champion."""
    common = ("--params", "tiny.yaml", "--set", "base.model=data/raw/tiny/a")
    return [approved(project, *common, "--set", f"ppo.kl_coef={coefficient}") for coefficient in (0.21, 0.22)]


def incident(project: Project, run: str, *options: str) -> tuple[str, str]:
    """Open a serious incident of a run's policy; its id, and what the command said."""
    words = ("--severity", "serious", "--summary", "unsafe advice", "--run", run, *options)
    done = project.attestrl("incident", "open", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout.split(":")[0], done.stdout


def test_containment_moves_the_champion_back_and_then_away(two: list[dict[str, Any]], project: Project) -> None:
    good, bad = two
    assert good["policy"]["sha256"] != bad["policy"]["sha256"]
    before = len(entries(project, "alias.moved"))
    name, said = incident(project, bad["run_id"], "--contain")
    assert f"version {good['policy']['version']} is champion again" in said
    assert champion(project) == good["policy"]["version"]
    (moved,) = entries(project, "alias.moved")[before:]
    assert (moved.run_id, moved.data["because"], moved.data["alias"]) == (good["run_id"], name, "champion")
    assert moved.subject_digests == {"policy": good["policy"]["sha256"]}
    again = project.run()  # nothing changed, so it is the bad policy once more
    assert again["gate"]["verdict"] == "refuse"
    assert name in again["gate"]["reasons"][0]

    earlier = {m.run_id for m in entries(project, "alias.moved") if m.data["alias"] == "champion"} - {
        r["run_id"] for r in two
    }
    names = [name, *(incident(project, run)[0] for run in sorted(earlier))]
    last, said = incident(project, good["run_id"], "--contain")
    assert "has no champion any more" in said
    assert champion(project) is None
    away = entries(project, "alias.moved")[-1]
    assert (away.data["version"], away.data["because"], away.subject_digests) == (None, last, {})

    added = "data/raw/evals/constraints/prompts.jsonl"
    for one in (*names, last):
        assert project.attestrl("incident", "update", one, "--note", "sent", "--reported").returncode == 0
        closing = ("incident", "close", one, "--cause", "a bad reward", "--evaluation", added)
        assert project.attestrl(*closing).returncode == 0
    assert project.attestrl("ledger", "verify").returncode == 0


def test_another_base_makes_evaluations_stale_and_a_full_cycle_due(two: list[dict[str, Any]], project: Project) -> None:
    cycle = project.folder / ".attestrl/cycle.json"
    waiting = project.run("--set", "ppo.kl_coef=0.23")
    assert waiting["gate"]["verdict"] == "pass"
    begun = project.run(*OTHER_BASE, "--until", "base")
    assert begun["status"] == "done"
    due = json.loads(cycle.read_text())
    assert (due["status"], due["because"]) == ("due", begun["run_id"])
    assert entries(project, "cycle.due")[-1].subject_digests == {"base": due["base_sha256"]}
    assert {waiting["run_id"], *(r["run_id"] for r in two)} <= set(due["stale"])
    stale = {e.run_id: e for e in entries(project, "evaluation.stale")}
    assert stale[waiting["run_id"]].data["because"] == begun["run_id"]
    assert "stale since" in json.loads(project.attestrl("show", waiting["run_id"], "--json").stdout)["stale"]
    refused = project.attestrl("approve", waiting["run_id"], "--reason", "it passed")
    assert refused.returncode == 1
    assert "run a full cycle on the new base" in refused.stderr

    full = project.run()
    assert full["status"] == "done", full["message"]
    assert set(made(full)) >= {"sft", "reward", "ppo", "evaluate"}
    assert outcomes(full)["base"] == "cached"
    done = json.loads(cycle.read_text())
    assert (done["status"], done["done_by"], done["base_sha256"]) == ("done", full["run_id"], due["base_sha256"])
    assert [e.run_id for e in entries(project, "cycle.done")][-1] == full["run_id"]
    yes = project.attestrl("approve", full["run_id"], "--reason", "the new base, looked at")
    assert yes.returncode == 0, yes.stderr
    assert champion(project) == full["policy"]["version"]
    restored = project.run("--set", "base.model=data/raw/tiny/a")  # as the tests after this one expect it
    assert restored["status"] == "done"
