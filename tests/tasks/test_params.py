from pathlib import Path
from typing import Any

import pytest
import yaml

from governance.errors import BadInput
from tasks import params

SHIPPED = Path(__file__).resolve().parents[2] / "params.yaml"


def changed(**sections: dict[str, Any]) -> dict[str, Any]:
    raw = yaml.safe_load(SHIPPED.read_text())
    for name, values in sections.items():
        raw[name].update(values)
    return raw


def test_shipped_file_is_valid() -> None:
    assert params.load(SHIPPED).seed == 7


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        (
            {"ppo": {"microbatch_tokens": 0}},
            "ppo.microbatch_tokens is wrong: write auto, or a whole number of 1 or more, not 0",
        ),
        ({"ppo": {"kl_coef": -1}}, "ppo.kl_coef is wrong"),
        ({"ppo": {"kl": 1}}, "ppo.kl is not a known key"),
        ({"ingest": {"shares": {"sft": 1.0}}}, "shares must name exactly"),
        (
            {"reward": {"ensemble": {"members": 2, "rule": "best", "variance_weight": 1}}},
            "reward.ensemble.rule is wrong",
        ),
        ({"reward": {"ensemble": {"members": 0, "rule": "mean", "variance_weight": 1}}}, "ensemble.members is wrong"),
        ({"reward": {"criteria": {"honesty": 0, "accuracy": 0.0}}}, "all weights are 0"),
        ({"reward": {"criteria": {"honesty": float("nan")}}}, "reward.criteria.honesty is wrong"),
        ({"reward": {"criteria": {"a b": 1}}}, "reward.criteria.a b"),
        ({"ingest": {"audits": {"../../x": {"votes": "votes.csv"}}}}, "ingest.audits.../../x"),
        ({"reward": {"loss": "hinge"}}, "reward.loss is wrong"),
        ({"reward": {"loss": "plackett_luce", "label_smoothing": 0.1}}, "label_smoothing is of pairs"),
        ({"sft": {"epochs": "many"}}, "sft.epochs is wrong"),
        ({"ppo": {"step_rewards": 0.5}}, "trained where process.solutions is above 0"),
        ({"oversight": {"protocol": "vote"}}, "oversight.protocol is wrong"),
        ({"oversight": {"candidates": 1}}, "oversight.candidates is wrong"),
        ({"oversight": {"turns": 0}}, "oversight.turns is wrong"),
        ({"oversight": {"order": "at once"}}, "oversight.order"),
        ({"process": {"level": "word"}}, "process.level is wrong"),
        ({"process": {"aggregate": "mean"}}, "process.aggregate is wrong"),
        ({"process": {"dev_share": 0}}, "process.dev_share is wrong"),
        ({"rounds": {"panel": []}}, "rounds.panel is wrong: Tuple should have at least 1 item"),
        ({"rounds": {"panel": [0.9, 1.5]}}, "rounds.panel.1 is wrong: Input should be less than or equal to 1"),
        ({"rounds": {"panel": 5}}, "rounds.panel is wrong"),
    ],
)
def test_errors_name_the_field(sections: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        params.parse(changed(**sections), "params.yaml")


def test_a_misspelt_key_is_named_as_it_is_written() -> None:
    raw = changed()
    raw["ppo"]["kl_coeff"] = raw["ppo"].pop("kl_coef")
    with pytest.raises(BadInput, match=r"^params.yaml: ppo.kl_coeff is not a known key: .*spelling \(1 more\)\.$"):
        params.parse(raw, "params.yaml")
    del raw["ppo"]["kl_coeff"]
    with pytest.raises(BadInput, match=r"^params.yaml: ppo.kl_coef is missing: add it as git has it\.$"):
        params.parse(raw, "params.yaml")
    with pytest.raises(BadInput, match=r"^params.yaml: ppo must hold keys with values"):
        params.parse(raw | {"ppo": [1]}, "params.yaml")


def test_the_policys_section_is_the_methods() -> None:
    raw = changed()
    assert params.parse(raw, "params.yaml").section_of("ppo") == "ppo"
    chosen = params.parse(raw | {"method": "kto", "num_processes": 2}, "params.yaml")
    assert (chosen.section_of("ppo"), chosen.section_of("sft")) == ("kto", "sft")
    assert [chosen.processes_of(stage) for stage in ("sft", "ppo", "evaluate")] == [2, 1, 1]
    with pytest.raises(BadInput, match="method is wrong"):
        params.parse(raw | {"method": "grpo"}, "params.yaml")


@pytest.mark.parametrize(
    ("content", "sentence"), [(b"a: [", "not valid YAML"), (b"\xff\xfe\x00", "UTF-8"), (b"", "the file must hold keys")]
)
def test_unreadable_files(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "p.yaml").write_bytes(content)
    with pytest.raises(BadInput, match=sentence):
        params.load(tmp_path / "p.yaml")
