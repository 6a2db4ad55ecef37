"""Ensembles from params.yaml through the stages `reward` and `ppo`."""

import contextlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from governance.digest import sha256_path
from tasks import params
from tasks.methods import ppo
from tasks.rlhf.branches import answer_scores
from tasks.rlhf.ensembles import ensemble_scores, load_ensemble
from tasks.rlhf.models import load_reward_model, load_tokenizer
from tasks.rlhf.rollout import sample
from tasks.rlhf.scorers import reward_scorer
from tests.conftest import run_stage_in

ROWS = [[5, 6, 7, 8, 1], [9, 10, 1], [20, 30, 40, 50, 60, 70, 1]]


@pytest.fixture(scope="module")
def project(trained_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose reward model is the worst case of two members."""
    folder = shutil.copytree(trained_project, tmp_path_factory.mktemp("ensemble") / "project")
    shutil.rmtree(folder / "data/reports/reward")
    ensemble = {"members": 2, "rule": "worst", "variance_weight": 0.5}
    run_stage_in(folder, "reward", reward={"ensemble": ensemble})
    return folder


def test_members_differ_and_the_first_is_the_model_without_an_ensemble(project: Path, trained_project: Path) -> None:
    weights = "model.safetensors"
    one, ensemble = (p / "data/models/reward" for p in (trained_project, project))
    assert sha256_path(ensemble / weights) == sha256_path(one / weights)
    assert sha256_path(ensemble / "member-2" / weights) != sha256_path(one / weights)
    assert not (one / "ensemble.json").exists()
    record = json.loads((project / "data/reports/reward/record.json").read_text())
    assert record["outputs"]["data/models/reward"] == sha256_path(ensemble)  # of all members and the rule
    assert {"reward/dev/loss", "reward-2/dev/loss"} <= set(record["metrics"])


def test_scores_follow_the_rule(project: Path, trained_project: Path) -> None:
    folder = project / "data/models/reward"
    alone = [answer_scores(load_reward_model(f), ROWS, None) for f in (folder, folder / "member-2")]
    assert torch.equal(ensemble_scores(load_ensemble(folder), ROWS), torch.minimum(*alone))
    assert not torch.equal(alone[0], alone[1])
    single = load_ensemble(trained_project / "data/models/reward")
    assert torch.equal(ensemble_scores(single, ROWS), alone[0])


def test_ppo_optimises_the_ensemble(project: Path) -> None:
    with contextlib.chdir(project):
        stage: Any = SimpleNamespace(params=params.load(Path("params.yaml")), seed=7)
        trainer = ppo.trainer_of(stage, load_tokenizer(Path("data/models/sft")))
        rollout = sample(
            trainer.policy,
            [row[:3] for row in ROWS],
            pad_token_id=0,
            stop_token_id=1,
            max_new_tokens=4,
            temperature=1.0,
            generator=torch.Generator().manual_seed(0),
        )
        folders = (Path("data/models/reward"), Path("data/models/reward/member-2"))
        with torch.no_grad():
            alone = [reward_scorer(load_reward_model(f).to(trainer.device))(rollout) for f in folders]
            torch.testing.assert_close(trainer.scorer(rollout), torch.minimum(*alone))
