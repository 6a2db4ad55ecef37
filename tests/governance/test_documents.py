"""Model cards hold the facts they are given and say of every gap that it is one."""

from dataclasses import replace

import pytest

from governance.model_card import ModelFacts, model_card
from governance.template import UNKNOWN


def section(text: str, name: str) -> str:
    return text.split(f"\n## {name}\n")[1].split("\n## ", maxsplit=1)[0]


def test_a_model_card_holds_the_facts() -> None:
    text = model_card(
        ModelFacts(
            name="demo-reward",
            kind="reward",
            sha256="d" * 64,
            base_sha256="b" * 64,
            git_commit="abc123",
            seed=0,
            inputs={"data/models/sft": "5" * 64, "data/processed/reward_train.parquet": "6" * 64},
            parameters={"learning_rate": 1e-4, "pattern": "a|b"},
            metrics=[
                {"name": "accuracy/test", "value": 0.61234, "low": 0.55, "high": 0.67, "n": 350},
                {"name": "accuracy/empty", "value": None, "low": None, "high": None, "n": 0},
            ],
            intended_use="Reward of PPO.",
            limits="Can be gamed.",
            simulated="The panel is simulated.",
        )
    )
    for part in ("d" * 64, "b" * 64, "`abc123`, seed 0", "**Simulated input:** The panel is simulated."):
        assert part in text
    assert f"| data/processed/reward_train.parquet | `{'6' * 64}` |" in section(text, "Made from")
    assert "| learning_rate | 0.0001 |" in section(text, "How")
    assert "| pattern | a\\|b |" in section(text, "How")
    assert "| accuracy/test | all | 0.6123 | 0.5500 – 0.6700 | 350 |" in section(text, "Measured")
    assert f"| accuracy/empty | all | {UNKNOWN} | none | 0 |" in section(text, "Measured")
    assert "Reward of PPO." in section(text, "Intended use")
    assert "Can be gamed." in text.split("## Limits")[1]


def test_figures_of_groups_and_the_energy_are_told_with_their_method() -> None:
    groups = [
        {"name": "win_rate/policy_vs_sft", "value": 0.5, "low": 0.4, "high": 0.6, "n": 20, "slice": None},
        {
            "name": "win_rate/policy_vs_sft",
            "value": 0.3,
            "low": 0.1,
            "high": 0.5,
            "n": 8,
            "slice": "prompts of one turn",
        },
    ]
    facts = ModelFacts(name="m", kind="policy", sha256="d" * 64, metrics=groups, seconds=60.0, cpu_seconds=90.0)
    assert "energy: not known: 90.0 CPU seconds, and `evidence.watts_per_core` is not declared" in model_card(facts)
    text = model_card(replace(facts, watts_per_core=8.0))
    assert "energy: about 0.2 Wh, estimated: 90.0 CPU seconds (measured) × 8 W a busy core (declared)" in text
    assert "| win_rate/policy_vs_sft | prompts of one turn | 0.3000 | 0.1000 – 0.5000 | 8 |" in section(
        text, "Measured"
    )
    assert "name: 'win_rate/policy_vs_sft: prompts of one turn'" in text


def test_gaps_in_a_model_card_are_visible() -> None:
    text = model_card(ModelFacts(name="m", kind="base", sha256="d" * 64))
    for line in ("Base model it descends from", "MLflow run", "Git commit"):
        assert f"- {line}: {UNKNOWN}" in text
    assert f"seed {UNKNOWN}" in text
    for part in ("Made from", "How", "Intended use"):
        assert UNKNOWN in section(text, part)
    assert "Nothing." in section(text, "Measured")


@pytest.mark.parametrize(
    ("kind", "licence", "base", "expected"),
    [
        ("base", "Apache-2.0 for the weights", "data/raw/small", {"license": "apache-2.0"}),
        ("base", "Our own", None, {"license": "other", "license_name": "Our own"}),
        ("policy", "MIT", "Qwen/Qwen2.5-0.5B", {"base_model": "Qwen/Qwen2.5-0.5B"}),
        ("reward", None, None, {}),
    ],
)
def test_the_hub_reads_the_metadata(kind: str, licence: str | None, base: str | None, expected: dict[str, str]) -> None:
    from huggingface_hub import ModelCard

    metrics = [{"name": "accuracy/test", "value": 0.61, "low": 0.55, "high": 0.67, "n": 350}]
    facts = ModelFacts(
        name="demo", kind=kind, sha256="d" * 64, metrics=metrics, base=base, base_licence=licence, seconds=12.34
    )
    card = ModelCard(model_card(facts), ignore_metadata_errors=False)
    data = card.data.to_dict()
    assert {k: data[k] for k in ("license", "license_name", "base_model") if data.get(k)} == expected
    assert card.data.pipeline_tag == ("text-classification" if kind == "reward" else "text-generation")
    (result,) = card.data.eval_results
    assert (result.metric_type, result.metric_value) == ("accuracy/test", 0.61)
    assert "12.3 s; energy: *not known*" in card.text
    assert f"licence: {licence or '*not known*'}" in card.text
