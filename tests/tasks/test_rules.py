"""Each rule catches the row it is about, and lets a good one through."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tasks import params, rules
from tasks.formats import DEMONSTRATIONS, PREFERENCES
from tasks.tables import DERIVED_DEMONSTRATION

ROOT = Path(__file__).resolve().parents[2]


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


GOOD: dict[str, Any] = {
    "id": "good",
    "prompt": [said("user", "What is blue?")],
    "chosen": [said("assistant", "The sky.")],
    "rejected": [said("assistant", "A dog.")],
}
BROKEN = {
    "roles_in_order": {"prompt": [said("assistant", "Hi"), said("user", "What?")]},
    "chosen_is_answer": {"chosen": [said("user", "The sky.")]},
    "rejected_is_answer": {"rejected": [said("assistant", "A"), said("assistant", "B")]},
    "prompt_not_empty": {"prompt": [said("user", " \n")]},
    "chosen_not_empty": {"chosen": [said("assistant", "")]},
    "rejected_not_empty": {"rejected": [said("assistant", "  ")]},
    "sides_differ": {"rejected": [said("assistant", "The sky.")]},
    "not_truncated": {"chosen": [said("assistant", "The sky is [truncated]")]},
    "not_damaged": {"chosen": [said("assistant", "The sky isnâ€™t blue")]},
    "prompt_fits": {"prompt": [said("user", "word " * 2000)]},
    "answers_fit": {"rejected": [said("assistant", "word " * 2000)]},
}
ALONE = {"id_of_others": False, "seen_before": False, "one_side": True}  # what a row hears of the others


def verdicts(rows: list[dict[str, Any]], **others: list[bool]) -> pl.DataFrame:
    settings = params.load(ROOT / "params.yaml").validate_
    table = pl.DataFrame(rows, schema=PREFERENCES, strict=False)
    heard = [pl.Series(name, others.get(name, [value] * len(rows))) for name, value in ALONE.items()]
    return rules.judged(rules.derive_preferences(table).with_columns(heard), rules.preference_rules(settings))


def test_a_good_row_passes_every_rule() -> None:
    assert all(verdicts([GOOD]).row(0))


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_catches_its_row(rule: str) -> None:
    failed = verdicts([GOOD, GOOD | {"id": "bad"} | BROKEN[rule]])
    assert failed[rule].to_list() == [True, False]


def test_missing_ids_and_what_other_rows_tell_are_caught() -> None:
    others = {
        "id_of_others": [False, True, False],
        "seen_before": [False, False, True],
        "one_side": [True, False, True],
    }
    found = verdicts([GOOD | {"id": None}, GOOD, GOOD], **others)
    assert found["id_unique"].to_list() == [False, False, True]
    assert found["row_new"].to_list() == [True, True, False]
    assert found["prompt_on_one_side"].to_list() == [True, False, True]


def test_every_preference_rule_is_tried() -> None:
    settings = params.load(ROOT / "params.yaml").validate_
    tried = {*BROKEN, "id_unique", "row_new", "prompt_on_one_side"}
    assert {r.name for r in rules.preference_rules(settings)} == tried


def test_demonstrations_end_with_an_answer() -> None:
    rows = [
        {"id": "a", "messages": [*GOOD["prompt"], *GOOD["chosen"]]},
        {"id": DERIVED_DEMONSTRATION + "b", "messages": GOOD["prompt"]},
    ]
    table = pl.DataFrame(rows, schema=DEMONSTRATIONS, strict=False)
    derived = rules.derive_demonstrations(table).with_columns(id_of_others=False, seen_before=False)
    found = rules.judged(derived, rules.demonstration_rules())
    assert found["roles_in_order"].to_list() == [True, False]


def test_votes_on_unknown_items_and_second_votes_are_caught() -> None:
    votes = pl.DataFrame(
        {
            "item_id": ["i", "i", "x", "i"],
            "annotator_id": ["a", "a", "a", "b"],
            "choice": [1, 0, 1, 2],
            "known_item": [True, True, False, True],
            "seen_before": [False, True, False, False],
            "undecided": [None] * 4,
        }
    )
    found = rules.judged(votes, rules.vote_rules())
    assert found["first_vote"].to_list() == [True, False, True, True]
    assert found["item_known"].to_list() == [True, True, False, True]
    assert found["choice_binary"].to_list() == [True, True, True, False]


def test_pandera_says_what_the_rules_say() -> None:
    import pandera.errors

    settings = params.load(ROOT / "params.yaml").validate_
    which = rules.preference_rules(settings)
    bad = verdicts([GOOD, GOOD | {"id": "bad"} | BROKEN["sides_differ"]])
    with pytest.raises(pandera.errors.SchemaErrors) as error:
        rules.schema(which).validate(bad, lazy=True)
    assert error.value.failure_cases["column"].to_list() == ["sides_differ"]
    rules.schema(which).validate(verdicts([GOOD]), lazy=True)
