"""Criteria of preference rows: each is a question of its own about the same two answers.

    criterion "honesty"                               the row says which answer is more honest, and nothing else
    criteria "honesty"                                the same
    criteria {"honesty": [4, 2], "accuracy": "tie"}   beside the row: by each, scores of chosen and rejected, or the better
    criteria ["honesty", "accuracy"]                  beside the row: chosen is the better by each

helpfulness, accuracy, harmlessness and honesty are the usual ones; any name of small letters, digits, - and _ will do.
"""

import json
import re
from typing import Any

from governance.errors import BadInput
from tasks.reading import Row, text

NAME = re.compile(r"[a-z][a-z0-9_-]*")
BETTER = {"chosen": True, "a": True, "1": True, "rejected": False, "b": False, "0": False, "tie": None, "": None}


def criterion_of(raw: Row, place: str) -> str | None:
    """The criterion of a row that is about one alone."""
    for field in ("criterion", "criteria"):
        said = raw.get(field)
        if field == "criterion" or (isinstance(said, str) and not said.startswith(("{", "["))):
            found = text(raw, field, place)
            if found is not None:
                return _name(found, field, place)
    return None


def by_criterion(raw: Row, place: str) -> dict[str, bool]:
    """Whether `chosen` is the better one by each criterion of the field `criteria`; ties and silence are left out."""
    criteria = raw.get("criteria")
    if isinstance(criteria, str) and criteria.startswith(("{", "[")):
        try:
            criteria = json.loads(criteria)
        except ValueError:
            raise BadInput(
                f"{place}: field criteria: is not the JSON of an object; give scores by criterion."
            ) from None
    if criteria is None or isinstance(criteria, str):
        return {}
    if isinstance(criteria, list) and all(isinstance(name, str) for name in criteria):
        criteria = dict.fromkeys(criteria, "chosen")
    if not isinstance(criteria, dict):
        raise BadInput(f'{place}: field criteria: must be an object such as {{"honesty": [4, 2]}}.')
    said = {_name(key, "criteria", place): _better(value, key, place) for key, value in criteria.items()}
    return {key: better for key, better in sorted(said.items()) if better is not None}


def _name(found: str, field: str, place: str) -> str:
    name = found.strip().lower()
    if not NAME.fullmatch(name):
        raise BadInput(
            f"{place}: field {field}: {found[:40]!r} is no name of a criterion; write one of small letters, digits, - and "
            "_, such as helpfulness."
        )
    return name


def _better(said: Any, name: str, place: str) -> bool | None:
    if isinstance(said, list) and len(said) == 2:
        if None in said:
            return None
        if all(isinstance(s, int | float) and not isinstance(s, bool) for s in said):
            return None if said[0] == said[1] else bool(said[0] > said[1])
    word = "" if said is None else str(said).strip().lower()
    if word not in BETTER:
        raise BadInput(
            f"{place}: field criteria.{name}: {str(said)[:40]!r} says nothing; give [score of chosen, score of rejected], "
            "chosen, rejected or tie."
        )
    return BETTER[word]
