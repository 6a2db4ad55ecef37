"""Rankings of K responses and ratings by criterion, reduced to votes on pairs; nothing of who said what is lost.

    ranking [2, [0, 1]]            best first; a list inside is a tie: votes on the pairs 0-1, 0-2 and 1-2
    ratings [4, null, 5]           a score for each response; who gave none can't say
    criteria {"honesty": "a", …}   a choice for each criterion, or the two scores [4, 2]

A pair's item is `<item>:<i>-<j>` and a criterion's `<item>:<criterion>`, whoever voted, so that people are compared on
the same question; the annotator's id stands on every vote. Ties and "can't say" stay votes, without a choice.
"""

import json
import re
from itertools import combinations
from typing import Any

from governance.errors import BadInput
from tasks.reading import Row

KINDS = ("ranking", "ratings", "criteria")
TIE, CANNOT_SAY = "tie", "can't say"
MARKUP = re.compile(r"^\s*(?:[-*+]|\d+[.)]|#{1,6}|>|\|)\s|\*\*|__|`", re.MULTILINE)
AGREES = re.compile(
    r"^\W*(yes|yeah|exactly|correct|absolutely|indeed|i agree|you(?:'|’)?re right|you are right)\b", re.I
)


def reduced(row: Row, place: str) -> list[Row]:
    """The votes that a row says; a row that is a vote itself is among them as it is."""
    votes = [row] if row.get("choice") not in (None, "") or row.get("undecided") else []
    rest = {name: value for name, value in row.items() if name not in (*KINDS, "responses", "shown_order", "choice")}
    if row.get("criteria") not in (None, ""):
        votes += [rest | vote for vote in _by_criterion(_parsed(row, "criteria", dict, place), row, place)]
    ranks = _ranks(row, place)
    if ranks:
        votes += [rest | vote for vote in _pairs(ranks, row, place)]
    return votes


def _ranks(row: Row, place: str) -> list[float | None]:
    """Rank of each response, the less the better; None where nothing was said of it."""
    if row.get("ranking") not in (None, ""):
        ranking = _parsed(row, "ranking", list, place)
        rank = {
            i: place_of
            for place_of, entry in enumerate(ranking)
            for i in (entry if isinstance(entry, list) else [entry])
        }
        named = [i for entry in ranking for i in (entry if isinstance(entry, list) else [entry])]
        n = len(_parsed(row, "responses", list, place)) if row.get("responses") else len(named)
        if n < 2 or not all(type(i) is int for i in named) or sorted(named) != list(range(n)):
            raise BadInput(
                f"{place}: field ranking: must hold each index of responses (two or more) once, best first; equals "
                "stand in a list of their own, as in [2, [0, 1]]."
            )
        return [float(rank[i]) for i in range(n)]
    if row.get("ratings") not in (None, ""):
        ratings = _parsed(row, "ratings", list, place)
        if len(ratings) < 2:
            raise BadInput(f"{place}: field ratings: must hold a number (or null) for each of two responses or more.")
        return [None if r is None else -_number(r, "ratings", place) for r in ratings]
    return []


def _pairs(ranks: list[float | None], row: Row, place: str) -> list[Row]:
    texts = _parsed(row, "responses", list, place) if row.get("responses") else []
    texts = [_text(t) for t in texts] if len(texts) == len(ranks) else []
    shown = _parsed(row, "shown_order", list, place) if row.get("shown_order") else []
    votes = []
    for i, j in combinations(range(len(ranks)), 2):
        vote: Row = {"item_id": f"{row['item_id']}:{i}-{j}"} | _said(ranks[i], ranks[j], best_is_least=True)
        if texts:
            vote |= {f"len_{side}": len(texts[k]) for side, k in (("a", i), ("b", j))}
            vote |= {f"format_{side}": len(MARKUP.findall(texts[k])) for side, k in (("a", i), ("b", j))}
            vote |= {f"confirms_{side}": int(bool(AGREES.match(texts[k]))) for side, k in (("a", i), ("b", j))}
        if i in shown and j in shown:
            vote["a_first"] = int(shown.index(i) < shown.index(j))
        votes.append(vote)
    return votes


def _by_criterion(criteria: dict[str, Any], row: Row, place: str) -> list[Row]:
    votes = []
    for name, said in sorted(criteria.items()):
        if isinstance(said, list):
            if len(said) != 2:
                raise BadInput(f"{place}: field criteria.{name}: must hold the scores of a and of b.")
            vote = _said(*(None if s is None else _number(s, f"criteria.{name}", place) for s in said))
        else:
            vote = {"choice": said, "undecided": None} if said not in (None, "") else _said(None, None)
        votes.append({"item_id": f"{row['item_id']}:{name}", "topic": row.get("topic") or name} | vote)
    return votes


def _said(a: float | None, b: float | None, *, best_is_least: bool = False) -> Row:
    if a is None or b is None:
        return {"choice": None, "undecided": CANNOT_SAY}
    if a == b:
        return {"choice": None, "undecided": TIE}
    return {"choice": int((a < b) == best_is_least), "undecided": None}


def _parsed(row: Row, name: str, wanted: type, place: str) -> Any:
    """A list or object as it is, or from the JSON text of a CSV cell."""
    value = row[name]
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if isinstance(value, dict) and wanted is dict:  # Parquet gives every criterion of the file to every row
        return {k: v for k, v in value.items() if v is not None}
    if not isinstance(value, wanted):
        raise BadInput(f"{place}: field {name}: must be {'an object' if wanted is dict else 'a list'}.")
    return value


def _number(value: Any, name: str, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadInput(f"{place}: field {name}: {str(value)[:40]!r} is not a number; give a score or null.")
    return float(value)


def _text(response: Any) -> str:
    """Text of a response: a string, or messages."""
    if isinstance(response, list):
        return "\n".join(str(m.get("content", "")) for m in response if isinstance(m, dict))
    return str(response)
