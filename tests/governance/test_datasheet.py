"""A datasheet answers 57 topics: by measurement, by a person, or by saying whom to ask. Nothing else fills one."""

from pathlib import Path
from typing import Any

import pytest

from governance.datasheet import Answer, DatasetFacts, Declared, answers, datasheet, declared_beside, document
from governance.errors import BadInput
from governance.mapping import reference

RAW = Path(__file__).resolve().parents[2] / "data/raw"
NOTHING = Declared({})


def facts(**known: Any) -> DatasetFacts:
    return DatasetFacts(name="preferences", path="data/p.parquet", sha256="a" * 64, rows=1847, **known)


def by_topic(d: DatasetFacts, declared: Declared = NOTHING) -> dict[str, Answer]:
    return {a.id: a for a in answers(d, declared)}


def test_all_57_topics_in_seven_sections_in_order() -> None:
    listed = [row["id"] for row in reference("datasheet_questions")]
    assert len(listed) == 57
    assert [a.id for a in answers(facts(), NOTHING)] == listed
    text = datasheet(facts(), NOTHING)
    sections = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert sections == [
        "Motivation",
        "Composition",
        "Collection",
        "Preprocessing",
        "Uses",
        "Distribution",
        "Maintenance",
    ]
    assert all(f"| {topic} " in text for topic in listed)


def test_what_nobody_knows_is_missing_with_whom_to_ask() -> None:
    found = by_topic(facts())
    known = {topic for topic, a in found.items() if a.status != "missing"}
    assert known == {"COMP-02"}  # the number of rows
    assert all(a.ask and a.answer is None for topic, a in found.items() if topic not in known)
    assert "| **missing** | *not known*; ask the data protection officer |" in datasheet(facts(), NOTHING)
    assert document(facts(), NOTHING)["counts"] == {"measured": 1, "declared": 0, "missing": 56}


def test_nothing_found_is_not_the_same_as_not_known() -> None:
    found = by_topic(facts(pii={}, quarantined={}, sides={}, nulls={}, failed_checks={}))
    assert found["COMP-14"].answer == "Personal data found by pattern: none found by the patterns that were searched."
    assert found["PREP-01"].answer == "Rows set aside: none."
    assert found["COMP-08"].answer == "None: the table is used whole."
    assert found["COMP-06"].answer == "Rows without a value: every column has a value in every row."
    assert found["COMP-09"].answer == "Rows that broke a rule: none."


def test_measurements_are_where_they_belong() -> None:
    d = facts(
        columns={"id": "String", "chosen": "List", "rejected": "List", "weird|name": "Int8"},
        nulls={"margin": 1847},
        sides={"sft": 500, "reward_train": 700},
        pii={"e-mail": 4, "phone": 1},
        quarantined={"duplicate id": 2},
        failed_checks={"answers_fit": 1},
        raw={"data/raw/x.jsonl": "c" * 64},
        timeframe=("2026-01-01", "2026-02-01"),
        annotators="60 annotators, 6 flagged.",
        used_for="the reward model",
        left_out="2 rows with ties",
    )
    found = by_topic(d)
    for topic, part in {
        "COMP-02": "1847 rows. By side of the split: sft: 500, reward_train: 700.",
        "COMP-04": "4 columns: id: String",
        "COMP-05": "`chosen` was preferred",
        "COMP-06": "margin: 1847",
        "COMP-08": "no prompt stands on two sides",
        "COMP-09": "answers_fit: 1",
        "COMP-14": "e-mail: 4, phone: 1",
        "COLL-02": "60 annotators, 6 flagged.",
        "COLL-05": "First 2026-01-01, last 2026-02-01",
        "PREP-01": "Rows set aside: duplicate id: 2. Left out at reading: 2 rows with ties.",
        "PREP-02": "c" * 64,
        "USES-01": "the reward model",
    }.items():
        assert found[topic].status == "measured", topic
        assert part in (found[topic].answer or ""), topic
    assert "weird\\|name" in datasheet(d, NOTHING)


def test_a_simulated_dataset_says_so() -> None:
    d = facts(simulated="The panel is simulated.")
    assert "**Simulated.** The panel is simulated." in datasheet(d, NOTHING).split("## Motivation")[0]
    assert by_topic(d)["COLL-04"].answer == "The panel is simulated."


def test_a_person_answers_in_yaml(tmp_path: Path) -> None:
    (tmp_path / "datasheet.yaml").write_text(
        "answered_by: A. Person, data lead\nanswers:\n  MOTI-03: |\n    Paid for by\n    the vendor.\n  COMP-02: About 2000.\n"
    )
    found = by_topic(facts(), declared_beside(tmp_path))
    assert (found["MOTI-03"].status, found["MOTI-03"].answer) == ("declared", "Paid for by the vendor.")
    assert found["MOTI-03"].source == "declared by A. Person, data lead in datasheet.yaml"
    assert found["COMP-02"].status == "measured"
    assert found["COMP-02"].answer == "1847 rows. About 2000."


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: [", "is not valid YAML"),
        ("answers: {}", "needs exactly the keys"),
        ("answered_by: ''\nanswers: {}", "names a person or role"),
        ("answered_by: A\nanswers: {MOTI-99: x}", "MOTI-99 is no topic"),
        ("answered_by: A\nanswers: {MOTI-01: ' '}", "MOTI-01 has no text"),
    ],
)
def test_a_yaml_file_that_says_nothing_valid_is_bad_input(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "datasheet.yaml").write_text(text)
    with pytest.raises(BadInput, match=sentence):
        declared_beside(tmp_path)


def test_hh_rlhf_says_what_it_is_not_meant_for() -> None:
    declared = declared_beside(RAW / "hh_rlhf")
    found = by_topic(facts(), declared)
    assert "not for supervised fine-tuning" in (found["USES-05"].answer or "")
    assert "can offend" in (found["COMP-12"].answer or "")
    assert found["DIST-04"].answer == "MIT"
    source = "github.com/anthropics/hh-rlhf, commit 354e5c3cb8960630860dd5774a6ac2a58313bf4d"
    assert found["MAIN-01"].answer == f"It comes from {source}."
    assert "data for training preference models" in datasheet(facts(), declared).split("## The source's own words")[1]


@pytest.mark.parametrize("name", ["hh_rlhf", "crowdtruth_rte", "crowdflower_timed", "gsm8k", "pandalm"])
def test_every_shipped_dataset_names_its_source_and_licence(name: str) -> None:
    said = declared_beside(RAW / name).answers
    assert said["MAIN-01"][0].startswith("It comes from github.com/")
    assert said["DIST-04"][0] in ("MIT", "Apache-2.0")


def test_a_folder_of_ones_own(tmp_path: Path) -> None:
    assert declared_beside(tmp_path) == Declared({}, None)
    (tmp_path / "LICENSE").write_text("\n  CC-BY-4.0  \n\nThe terms …")
    (tmp_path / "README.md").write_bytes(b"# Votes\nFrom the vendor, na\xefve encoding.\n")
    known = declared_beside(tmp_path)
    assert known.answers == {"DIST-04": ("CC-BY-4.0", "declared in LICENSE")}
    assert known.notes == "> From the vendor, na�ve encoding."
