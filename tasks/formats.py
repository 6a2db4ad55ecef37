"""TRL's preference formats, K-way rankings and demonstrations, brought into the project's tables.

Preferences may be strings or messages, with an explicit `prompt` or an implicit one (what `chosen` and `rejected`
share at their beginning). See https://huggingface.co/docs/trl/dataset_formats.
"""

import json
import re
from itertools import combinations, takewhile
from typing import Any

import polars as pl

from governance.digest import canonical_json, sha256_bytes
from governance.errors import BadInput
from tasks.reading import Row, read_rows
from tasks.tables import MESSAGES, Schema

Messages = list[dict[str, str]]
TURN = re.compile(r"(?:^|\n\n)(Human|Assistant): ?")  # the transcript form of HH-RLHF
OPTIONAL: Schema = {
    "source": pl.String,
    "annotator_id": pl.String,
    "margin": pl.Float64,
    "reason": pl.String,
    "created_at": pl.String,
}
PREFERENCES: Schema = {"id": pl.String, "prompt": MESSAGES, "chosen": MESSAGES, "rejected": MESSAGES, **OPTIONAL}
DEMONSTRATIONS: Schema = {"id": pl.String, "messages": MESSAGES, "source": pl.String, "author_id": pl.String}


def read_preferences(source: str) -> pl.DataFrame:
    """Preference rows (`PREFERENCES`); a ranking of K responses gives its K(K−1)/2 pairs."""
    rows: list[Row] = []
    shape = None
    for place, raw in read_rows(source):
        ranked = "ranking" in raw
        if shape is not None and ranked != shape:
            raise BadInput(f"{place}: mixes rankings and pairs in one file; keep them in two.")
        shape = ranked
        rows += _pairs_of_ranking(raw, place) if ranked else [_preference(raw, place)]
    return pl.DataFrame(rows, schema=PREFERENCES, strict=False)


def read_demonstrations(source: str) -> pl.DataFrame:
    """Demonstration rows (`DEMONSTRATIONS`) from `messages` or `prompt` + `completion`."""
    rows = []
    for place, raw in read_rows(source):
        if "messages" in raw:
            messages = _messages(raw["messages"], "user", place, "messages")
        else:
            prompt = _messages(_need(raw, "prompt", place), "user", place, "prompt")
            messages = prompt + _messages(_need(raw, "completion", place), "assistant", place, "completion")
        author = None if raw.get("author_id") is None else str(raw["author_id"])
        rows.append({"id": _id(raw, messages), "messages": messages, "source": raw.get("source"), "author_id": author})
    return pl.DataFrame(rows, schema=DEMONSTRATIONS, strict=False)


def _preference(raw: Row, place: str) -> Row:
    chosen, rejected = _need(raw, "chosen", place), _need(raw, "rejected", place)
    if raw.get("prompt") is not None:
        prompt = _messages(raw["prompt"], "user", place, "prompt")
        sides = [_messages(v, "assistant", place, n) for v, n in ((chosen, "chosen"), (rejected, "rejected"))]
    else:
        sides = [_conversation(v, place, n) for v, n in ((chosen, "chosen"), (rejected, "rejected"))]
        prompt, sides = _split_shared(sides, place)
    row: Row = {"id": _id(raw, [prompt, *sides]), "prompt": prompt, "chosen": sides[0], "rejected": sides[1]}
    return row | {name: _optional(raw, name, place) for name in OPTIONAL}


def _pairs_of_ranking(raw: Row, place: str) -> list[Row]:
    """Pairs of a K-way ranking, best first; ids name item and responses, so that who said what is kept."""
    responses, ranking = _parsed(_need(raw, "responses", place)), _parsed(_need(raw, "ranking", place))
    if not isinstance(ranking, list) or sorted(ranking) != list(range(len(responses))):
        raise BadInput(f"{place}: field ranking: must hold each index of responses once, best first.")
    prompt = _messages(_need(raw, "prompt", place), "user", place, "prompt")
    sides = [_messages(r, "assistant", place, "responses") for r in responses]
    item = str(raw.get("item_id") or _id(raw, [prompt, *sides]))
    common = {name: _optional(raw, name, place) for name in OPTIONAL}
    suffix = f":{common['annotator_id']}" if common["annotator_id"] else ""
    return [
        {"id": f"{item}:{i}-{j}{suffix}", "prompt": prompt, "chosen": sides[i], "rejected": sides[j], **common}
        for i, j in combinations(ranking, 2)
    ]


def _need(raw: Row, name: str, place: str) -> Any:
    if raw.get(name) is None:
        found = ", ".join(sorted(raw)) or "none"
        raise BadInput(f"{place}: has no field {name} (fields: {found}); see docs/quickstart.md for the formats.")
    return raw[name]


def _optional(raw: Row, name: str, place: str) -> Any:
    value = raw.get(name)
    if value is None or value == "":
        return None
    if name != "margin":
        return str(value)
    try:
        return float(value)
    except (TypeError, ValueError):
        raise BadInput(f"{place}: field margin: {value!r} is not a number.") from None


def _id(raw: Row, content: Any) -> str:
    """The row's own id, or one that follows from its content."""
    return str(raw["id"]) if raw.get("id") not in (None, "") else f"row-{sha256_bytes(canonical_json(content))[:16]}"


def _parsed(value: Any) -> Any:
    """A CSV cell that holds JSON, as the value it stands for."""
    if isinstance(value, str) and value.startswith("["):
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            return value
    return value


def _messages(value: Any, role: str, place: str, field: str) -> Messages:
    """Messages of a field: a string becomes one message of `role`."""
    value = _parsed(value)
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    if not isinstance(value, list) or not value or not all(_is_message(m) for m in value):
        raise BadInput(f"{place}: field {field}: must be text or a list of messages with role and content.")
    return [{"role": m["role"], "content": m["content"]} for m in value]


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(k), str) for k in ("role", "content"))


def _conversation(value: Any, place: str, field: str) -> Messages:
    """A whole conversation: messages, an HH-RLHF transcript, or plain text (one user message)."""
    value = _parsed(value)
    if not isinstance(value, str) or not TURN.match(value):
        return _messages(value, "user", place, field)
    parts = TURN.split(value)[1:]
    roles = {"Human": "user", "Assistant": "assistant"}
    return [{"role": roles[who], "content": text} for who, text in zip(parts[::2], parts[1::2], strict=True)]


def _split_shared(sides: list[Messages], place: str) -> tuple[Messages, list[Messages]]:
    """The shared beginning of two conversations, and what is left of each."""
    first, second = sides
    if len(first) == len(second) == 1 and first[0]["role"] == "user":
        return _split_text(first[0]["content"], second[0]["content"], place)
    shared = 0
    while shared < min(len(first), len(second)) - 1 and first[shared] == second[shared]:
        shared += 1
    if shared == 0:
        raise BadInput(f"{place}: chosen and rejected share no beginning, so there is no prompt; add a field prompt.")
    return first[:shared], [first[shared:], second[shared:]]


def _split_text(first: str, second: str, place: str) -> tuple[Messages, list[Messages]]:
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))
    cut = first.rfind(" ", 0, shared) + 1  # at a word's beginning, not inside one
    if cut == 0:
        raise BadInput(f"{place}: chosen and rejected share no beginning, so there is no prompt; add a field prompt.")
    answers = [[{"role": "assistant", "content": text[cut:].strip()}] for text in (first, second)]
    return [{"role": "user", "content": first[:cut].strip()}], answers
