"""A bench on tiny trained models: the policy is SFT with an end token that it likes better."""

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tasks.evals.bench import Bench
from tasks.evals.response_cache import ResponseCache
from tasks.evaluation_params import Suite

RAW = Path(__file__).resolve().parents[3] / "data/raw"


@pytest.fixture(scope="session")
def bench_folder(tmp_path_factory: pytest.TempPathFactory, trained_project: Path, hh_rows: list[Any]) -> Path:
    """Models base, sft, policy, reward, judge and the held-out sides."""
    import torch
    from safetensors.torch import load_file, save_file

    folder = tmp_path_factory.mktemp("bench")
    for name in ("base", "sft", "reward", "judge"):
        shutil.copytree(trained_project / "data/models" / name, folder / name)
    shutil.copytree(folder / "sft", folder / "policy")
    weights = load_file(folder / "policy/model.safetensors")
    generator = torch.Generator().manual_seed(0)
    for key, tensor in weights.items():
        weights[key] = tensor + 0.02 * torch.randn(tensor.shape, generator=generator)
    save_file(weights, folder / "policy/model.safetensors", metadata={"format": "pt"})
    for side in ("reward_test", "sft", "reward_train"):
        shutil.copy(trained_project / f"data/processed/{side}.parquet", folder / f"{side}.parquet")
    pl.DataFrame(hh_rows[:40]).select("id", "prompt", "source").write_parquet(folder / "eval_prompts.parquet")
    return folder


def settings(**changes: Any) -> Suite:
    """A small suite on the shipped files."""
    files = {
        "pairs": {"pandalm": str(RAW / "pandalm/pairs.jsonl")},
        "harmless": {"pandalm": str(RAW / "pandalm/pairs.jsonl")},
        "sycophancy": {"political": str(RAW / "evals/sycophancy/questions.jsonl")},
        "pronouns": {"winogenerated": str(RAW / "evals/winogenerated/sentences.jsonl")},
        "multiple_choice": {"logical_deduction": str(RAW / "evals/logical_deduction/questions.jsonl")},
        "instructions": {"constraints": str(RAW / "evals/constraints/prompts.jsonl")},
        "problems": {"gsm8k": str(RAW / "gsm8k/train.jsonl.gz")},
    }
    return Suite.model_validate(
        {"items": 8, "samples": 2, "max_new_tokens": 8, "best_of": 4, "resamples": 40, **files, **changes}
    )


def bench_of(folder: Path, cache: Path, **changes: Any) -> Bench:
    """A bench of the models in `folder`."""
    return Bench(
        settings=settings(**changes),
        seed=7,
        policies={n: folder / n for n in ("base", "sft", "policy")},
        rated={},
        scorers={n: folder / n for n in ("reward", "judge")},
        sides={n: folder / f"{n}.parquet" for n in ("reward_test", "eval_prompts", "sft", "reward_train")},
        cache=ResponseCache(cache),
        max_length=96,
    )


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory, bench_folder: Path) -> dict[str, dict[str, Any]]:
    """What every evaluation of the suite wrote."""
    from tasks.evals import suite

    folder = tmp_path_factory.mktemp("results")
    suite.run(bench_of(bench_folder, folder / "responses.sqlite"), list(suite.EVALUATIONS), folder / "results")
    return {p.stem: json.loads(p.read_text()) for p in (folder / "results").glob("*.json")}
