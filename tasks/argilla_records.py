"""The review queue as Argilla records, and Argilla's answers for the queue.

Records are those of Argilla's SDK 2 (`dataset.records.from_json`, `to_json`), one dataset for items with one response and
one for comparisons: its settings are in the file beside (`rg.Settings.from_json`). The order in which responses stand in
the fields is drawn for each item, and kept in the metadata.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from governance.errors import BadInput
from tasks.review_store import CRITERIA, Answer, Item

RANKING, REASON = "ranking", "reason"
SUBMITTED = (None, "submitted")


def records(items: Sequence[Item]) -> list[dict[str, Any]]:
    """Items that show equally many responses, as records."""
    return [
        {
            "id": item.id,
            "fields": {"prompt": _conversation(item), "why": item.why or "—"}
            | {f"response_{k}": item.responses[i] for k, i in enumerate(item.order, start=1)},
            "metadata": {"shown_order": ",".join(map(str, item.order))},
            "suggestions": {},
            "responses": {},
            "vectors": {},
        }
        for item in items
    ]


def settings(responses: int) -> dict[str, Any]:
    """Settings of the dataset for items with so many responses."""
    names = ["prompt", "why", *(f"response_{k}" for k in range(1, responses + 1))]
    fields = [_named(name, {"type": "text", "use_markdown": False}) for name in names]
    stars = {"type": "rating", "options": [{"value": n} for n in range(1, 6)]}
    if responses == 1:
        questions = [_named(c, stars, required=False) for c in CRITERIA]
    else:
        options = [{"value": n, "text": n} for n in names[2:]]
        questions = [_named(RANKING, {"type": "ranking", "options": options})]
    reason = _named(REASON, {"type": "text", "use_markdown": False}, required=responses == 1)
    return {
        "guidelines": "Rate the response, or rank the responses, the best first; say why.",
        "questions": [*questions, reason],
        "fields": fields,
        "vectors": [],
        "metadata": [_named("shown_order", {"type": "terms", "values": None})],
        "allow_extra_metadata": False,
        "distribution": {"strategy": "overlap", "min_submitted": 1},
        "mapping": None,
    }


def answers(document: list[Any], name: str) -> Iterator[Answer]:
    """Submitted answers of exported records. `name`: of the file, for sentences. Raises BadInput that names the record."""
    for number, record in enumerate(document, start=1):
        place = f"{name}: record {number}"
        try:
            order = [int(i) for i in str(record["metadata"]["shown_order"]).split(",")]
            said: dict[str, dict[str, Any]] = {}
            for question, every in record["responses"].items():
                for response in every:
                    if response.get("status") in SUBMITTED:
                        said.setdefault(str(response["user_id"]), {})[question] = response["value"]
            for who, values in said.items():
                yield Answer(str(record["id"]), who, _content(values, order))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            raise BadInput(
                f"{place}: is no record of the review queue with answers; export it from Argilla again."
            ) from None


def _content(values: dict[str, Any], order: list[int]) -> dict[str, Any]:
    ranked = [v["value"] if isinstance(v, dict) else v for v in values.get(RANKING) or []]
    ranking = [order[int(str(v).removeprefix("response_")) - 1] for v in ranked] or None
    ratings = {c: None if values.get(c) is None else int(values[c]) for c in CRITERIA}
    reason = str(values.get(REASON) or "").strip()
    return {"ranking": ranking, "shown_order": order, "ratings": ratings, "reason": reason, "seconds": None}


def _named(name: str, inner: dict[str, Any], *, required: bool = True) -> dict[str, Any]:
    return {"name": name, "title": name, "required": required, "settings": inner}


def _conversation(item: Item) -> str:
    return "\n\n".join(f"{m['role']}: {m['content']}" for m in item.prompt)
