"""Datasheets and model cards hold the facts they are given and say of every gap that it is one."""

from pathlib import Path
from typing import Any

import pytest

from governance.datasheet import DatasetFacts, datasheet, source_facts
from governance.model_card import ModelFacts, model_card
from governance.template import UNKNOWN

RAW = Path(__file__).resolve().parents[2] / "data/raw"
SECTIONS = ("Motivation", "Composition", "Collection process", "Preprocessing", "Uses", "Distribution", "Maintenance")


def section(text: str, name: str) -> str:
    return text.split(f"\n## {name}\n")[1].split("\n## ", maxsplit=1)[0]


def facts(**known: Any) -> DatasetFacts:
    return DatasetFacts(name="preferences", path="data/p.parquet", sha256="a" * 64, rows=1847, **known)


def test_a_datasheet_has_the_seven_sections_in_order() -> None:
    text = datasheet(facts())
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == list(SECTIONS)


@pytest.mark.parametrize(
    ("part", "question"),
    [
        ("Motivation", "Purpose"),
        ("Motivation", "Source"),
        ("Motivation", "Creators and on whose behalf"),
        ("Composition", "Columns"),
        ("Composition", "Split"),
        ("Composition", "Personal data that is plainly there"),
        ("Collection process", "How it was collected"),
        ("Collection process", "Annotators"),
        ("Preprocessing", "Rows set aside"),
        ("Uses", "Used here for"),
        ("Uses", "Cautions"),
        ("Distribution", "Licence"),
    ],
)
def test_a_gap_in_a_datasheet_is_visible(part: str, question: str) -> None:
    assert f"- {question}: {UNKNOWN}" in section(datasheet(facts()), part)


def test_nothing_found_is_not_the_same_as_not_known() -> None:
    text = datasheet(facts(pii={}, quarantined={}, sides={}))
    assert "- Personal data that is plainly there: none found" in text
    assert "- Rows set aside: none" in text
    assert "- Split: none" in text


def test_a_datasheet_holds_the_facts() -> None:
    text = datasheet(
        facts(
            content_sha256="c" * 64,
            columns={"id": "String", "weird|name": "List(Struct)"},
            sides={"sft": 500, "reward_train": 700},
            pii={"e-mail": 4, "phone": 1},
            quarantined={"duplicate id": 2, "empty turn": 3},
            annotators="60 annotators, 6 flagged",
            simulated="The panel is simulated.",
            left_out="2 rows with ties",
        )
    )
    composition = section(text, "Composition")
    assert "a" * 64 in composition and "c" * 64 in composition and "1847" in composition
    assert "| id | String |" in composition
    assert "| weird\\|name | List(Struct) |" in composition
    assert "| reward_train | 700 |" in composition
    assert "e-mail: 4, phone: 1" in composition
    assert "duplicate id: 2, empty turn: 3" in section(text, "Preprocessing")
    assert "2 rows with ties" in section(text, "Preprocessing")
    assert "60 annotators, 6 flagged" in section(text, "Collection process")
    assert "**Simulated.** The panel is simulated." in text.split("## Motivation")[0]


def test_hh_rlhf_says_what_it_is_not_meant_for() -> None:
    known = source_facts(RAW / "hh_rlhf")
    assert known["source"] == "github.com/anthropics/hh-rlhf, commit 354e5c3cb8960630860dd5774a6ac2a58313bf4d"
    assert known["licence"] == "MIT"
    text = datasheet(facts(**known, intended_use="training preference models", cautions="not for SFT"))
    assert "data for training preference models, not for supervised fine-tuning" in section(
        text, "The source's own words"
    )
    assert "- Purpose: training preference models" in section(text, "Motivation")
    assert "- Cautions: not for SFT" in section(text, "Uses")


@pytest.mark.parametrize("name", ["hh_rlhf", "crowdtruth_rte", "crowdflower_timed", "gsm8k", "pandalm"])
def test_every_shipped_dataset_names_its_source_and_licence(name: str) -> None:
    known = source_facts(RAW / name)
    assert known["source"] and known["source"].startswith("github.com/")
    assert known["licence"] in ("MIT", "Apache-2.0")


def test_a_folder_of_ones_own(tmp_path: Path) -> None:
    assert source_facts(tmp_path) == {"source": None, "licence": None, "source_notes": None}
    (tmp_path / "LICENSE").write_text("\n  CC-BY-4.0  \n\nThe terms …")
    (tmp_path / "README.md").write_bytes(b"# Votes\nFrom the vendor, na\xefve encoding.\n")
    known = source_facts(tmp_path)
    assert (known["source"], known["licence"]) == (None, "CC-BY-4.0")
    assert known["source_notes"] == "> From the vendor, na�ve encoding."


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
    assert "| accuracy/test | 0.6123 | 0.5500 – 0.6700 | 350 |" in section(text, "Measured")
    assert f"| accuracy/empty | {UNKNOWN} | none | 0 |" in section(text, "Measured")
    assert "Reward of PPO." in section(text, "Intended use")
    assert "Can be gamed." in text.split("## Limits")[1]


def test_gaps_in_a_model_card_are_visible() -> None:
    text = model_card(ModelFacts(name="m", kind="base", sha256="d" * 64))
    for line in ("Base model it descends from", "MLflow run", "Git commit"):
        assert f"- {line}: {UNKNOWN}" in text
    assert f"seed {UNKNOWN}" in text
    for part in ("Made from", "How", "Intended use"):
        assert UNKNOWN in section(text, part)
    assert "Nothing." in section(text, "Measured")


def test_documents_are_the_same_for_the_same_facts() -> None:
    assert datasheet(facts(pii={"e-mail": 1})) == datasheet(facts(pii={"e-mail": 1}))
