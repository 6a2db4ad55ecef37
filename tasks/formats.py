"""TRL's preference formats, K-way rankings and demonstrations, brought into the project's tables.

Preferences may be strings or messages, with an explicit `prompt` or an implicit one (what `chosen` and `rejected`
share at their beginning), one format a file. See https://huggingface.co/docs/trl/dataset_formats.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import combinations, islice, takewhile
from typing import Any

import polars as pl

from governance.digest import canonical_json, sha256_bytes
from governance.errors import BadInput
from tasks.criteria import by_criterion, criterion_of
from tasks.progress import Advance, nobody
from tasks.rankings import RANKED
from tasks.reading import Row, kind_of, number, read_rows, text
from tasks.tables import CHUNK, MESSAGES, Schema, frame_of

Messages = list[dict[str, str]]
Rename = Callable[[str], str]  # of a person
PIECE = 1000  # rows as Python objects at a time: as Arrow they take a fraction of the memory
TURN = re.compile(r"(?:^|\n\n)(Human|Assistant): ?")  # the transcript form of HH-RLHF
OPEN = re.compile(r"(\n\n)?Human: .*\n\nAssistant:\s*", re.DOTALL)
OPTIONAL: Schema = {
    "source": pl.String,
    "annotator_id": pl.String,
    "margin": pl.Float64,
    "reason": pl.String,
    "created_at": pl.String,
    "criterion": pl.String,
}
PREFERENCES: Schema = {
    "id": pl.String,
    "prompt": MESSAGES,
    "chosen": MESSAGES,
    "rejected": MESSAGES,
    **OPTIONAL,
    **RANKED,
}
DEMONSTRATIONS: Schema = {"id": pl.String, "messages": MESSAGES, "source": pl.String, "author_id": pl.String}


def read_preferences(source: str) -> pl.DataFrame:
    """Preference rows (`PREFERENCES`); a ranking of K responses gives its K(K−1)/2 pairs under one `ranking_id`, a row
    with `criteria` one more pair for each of them, with the better answer by it as `chosen`."""
    return pl.concat(preference_chunks(source))


def preference_chunks(
    source: str, advance: Advance = nobody, rename: Rename = str, *, rows: int = CHUNK
) -> Iterator[pl.DataFrame]:
    """The rows of `read_preferences`, at most `rows` at a time; annotators get the name that `rename` gives."""
    return _chunks(_preference_rows(source, advance, rename), PREFERENCES, rows)


def read_demonstrations(source: str) -> pl.DataFrame:
    """Demonstration rows (`DEMONSTRATIONS`) from `messages` or `prompt` + `completion`."""
    return pl.concat(demonstration_chunks(source))


def demonstration_chunks(
    source: str, advance: Advance = nobody, rename: Rename = str, *, rows: int = CHUNK
) -> Iterator[pl.DataFrame]:
    """The rows of `read_demonstrations`, at most `rows` at a time; authors get the name that `rename` gives."""
    return _chunks(_demonstration_rows(source, advance, rename), DEMONSTRATIONS, rows)


def _chunks(rows: Iterable[Row], schema: Schema, most: int) -> Iterator[pl.DataFrame]:
    remaining = iter(rows)
    while pieces := list(_pieces(islice(remaining, most), schema)):
        yield pl.concat(pieces, rechunk=True)


def _pieces(rows: Iterator[Row], schema: Schema) -> Iterator[pl.DataFrame]:
    while some := list(islice(rows, PIECE)):
        yield frame_of(some, schema)


def _preference_rows(source: str, advance: Advance, rename: Rename) -> Iterator[Row]:
    first: str | None = None
    for place, raw in read_rows(source, advance):
        if "ranking" in raw:
            pairs, form = _pairs_of_ranking(raw, place, rename)
        else:
            pair, form = _preference(raw, place, rename)
            pairs = [pair, *_by_criterion(pair, raw, place)]
        first = first or form
        if form != first:
            raise BadInput(f"{place}: mixes formats: {form}, where the rows before are {first}; keep one a file.")
        yield from pairs


def _demonstration_rows(source: str, advance: Advance, rename: Rename) -> Iterator[Row]:
    for place, raw in read_rows(source, advance):
        if "messages" in raw:
            messages = _messages(_need(raw, "messages", place), "user", place, "messages")
        else:
            prompt = _messages(_need(raw, "prompt", place), "user", place, "prompt")
            messages = prompt + _messages(_need(raw, "completion", place), "assistant", place, "completion")
        author = text(raw, "author_id", place)
        yield {
            "id": text(raw, "id", place) or _content_id(messages),
            "messages": messages,
            "source": text(raw, "source", place),
            "author_id": author and rename(author),
        }


def _preference(raw: Row, place: str, rename: Rename) -> tuple[Row, str]:
    """(pair, name of its format)."""
    chosen, rejected = (_parsed(_need(raw, side, place)) for side in ("chosen", "rejected"))
    explicit = raw.get("prompt") is not None and not (_is_whole(chosen) and _is_whole(rejected))
    if explicit:
        prompt = _prompt(raw["prompt"], place)
        sides = [_messages(v, "assistant", place, n) for v, n in ((chosen, "chosen"), (rejected, "rejected"))]
    else:
        sides = [_conversation(v, place, n) for v, n in ((chosen, "chosen"), (rejected, "rejected"))]
        prompt, sides = _split_shared(sides, place)
    common = _optional(raw, place, rename)
    content: list[Any] = [prompt, *sides] + ([common["annotator_id"]] if common["annotator_id"] else [])
    row: Row = {"id": _of_criterion(text(raw, "id", place) or _content_id(content), common["criterion"])}
    row |= {"prompt": prompt, "chosen": sides[0], "rejected": sides[1], **common}
    row |= dict.fromkeys(RANKED)
    strings = isinstance(chosen, str), isinstance(rejected, str)
    if strings[0] != strings[1]:
        raise BadInput(f"{place}: mixes formats: of chosen and rejected, one is text and the other messages.")
    form = f"{'text' if strings[0] else 'messages'} with {'a' if explicit else 'no'} field prompt"
    return row, form


def _is_whole(side: Any) -> bool:
    """Whether an answer is a conversation that begins with its prompt, whatever a field prompt says beside it."""
    return _are_messages(side) and side[0]["role"] in ("system", "user")


def _prompt(value: Any, place: str) -> Messages:
    """Messages of the field prompt: also of a transcript that stops where the assistant is to speak."""
    if isinstance(value, str) and OPEN.fullmatch(value):
        return _conversation(value, place, "prompt")[:-1]
    return _messages(value, "user", place, "prompt")


def _of_criterion(name: str, criterion: str | None) -> str:
    """Id of a row about one criterion, as votes name it, too."""
    return name if criterion is None or name.endswith(f":{criterion}") else f"{name}:{criterion}"


def _by_criterion(pair: Row, raw: Row, place: str) -> Iterator[Row]:
    for criterion, as_stored in by_criterion(raw, place).items():
        sides = ("chosen", "rejected") if as_stored else ("rejected", "chosen")
        answers = dict(zip(("chosen", "rejected"), (pair[side] for side in sides), strict=True))
        yield pair | answers | {"id": f"{pair['id']}:{criterion}", "criterion": criterion, "margin": None}


def _pairs_of_ranking(raw: Row, place: str, rename: Rename) -> tuple[list[Row], str]:
    """(pairs, name of the format). Pairs of a K-way ranking, best first; ids name item and responses, so that who
    said what is kept."""
    responses, ranking = (_listed(_need(raw, name, place), place, name) for name in ("responses", "ranking"))
    if not all(type(i) is int for i in ranking) or sorted(ranking) != list(range(len(responses))) or len(ranking) < 2:
        raise BadInput(f"{place}: field ranking: must hold each index of responses (two or more) once, best first.")
    prompt = _messages(_need(raw, "prompt", place), "user", place, "prompt")
    sides = [_messages(r, "assistant", place, "responses") for r in responses]
    item = text(raw, "item_id", place) or text(raw, "id", place) or _content_id([prompt, *sides])
    common = _optional(raw, place, rename)
    suffix = "".join(f":{common[name]}" for name in ("annotator_id", "criterion") if common[name])
    if by_criterion(raw, place):
        raise BadInput(
            f"{place}: field criteria: is of pairs; give each criterion a ranking, with the field criterion."
        )
    pairs = [
        {"id": f"{item}:{ranking[a]}-{ranking[b]}{suffix}", "prompt": prompt, **common}
        | {"chosen": sides[ranking[a]], "rejected": sides[ranking[b]]}
        | {"ranking_id": f"{item}{suffix}", "chosen_rank": a, "rejected_rank": b}
        for a, b in combinations(range(len(ranking)), 2)
    ]
    return pairs, f"rankings of {'text' if isinstance(responses[0], str) else 'messages'}"


def _need(raw: Row, name: str, place: str) -> Any:
    if raw.get(name) is None:
        found = ", ".join(sorted(map(str, raw))) or "none"
        lacks = "has no value in the field" if name in raw else "has no field"
        raise BadInput(f"{place}: {lacks} {name} (fields: {found}); see docs/quickstart.md for the formats.")
    return raw[name]


def _optional(raw: Row, place: str, rename: Rename) -> Row:
    row = {name: text(raw, name, place) for name in OPTIONAL if name != "margin"}
    row["criterion"] = criterion_of(raw, place)
    who = row["annotator_id"]
    return row | {"annotator_id": who and rename(who), "margin": number(raw, "margin", place)}


def _content_id(content: Any) -> str:
    """Id of a row that has none: it follows from what the row says."""
    return f"row-{sha256_bytes(canonical_json(content))[:16]}"


def _parsed(value: Any) -> Any:
    """A CSV cell that holds messages as JSON, as the messages; other text stays as it is."""
    if isinstance(value, str) and value.startswith("[{"):
        try:
            parsed = json.loads(value)
        except (json.JSONDecodeError, RecursionError):
            return value
        return parsed if _are_messages(parsed) else value
    return value


def _listed(value: Any, place: str, field: str) -> list[Any]:
    """A list, or a CSV cell that holds one as JSON."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (json.JSONDecodeError, RecursionError):
            value = None
    if not isinstance(value, list):
        raise BadInput(f"{place}: field {field}: must be a list.")
    return value


def _messages(value: Any, role: str, place: str, field: str) -> Messages:
    """Messages of a field: a string becomes one message of `role`."""
    value = _parsed(value)
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    if not _are_messages(value):
        found = "a list of something else" if isinstance(value, list) else kind_of(value)
        raise BadInput(
            f"{place}: field {field}: is {found}; must be text or a list of messages with the texts role and content."
        )
    return [{"role": m["role"], "content": m["content"]} for m in value]


def _are_messages(value: Any) -> bool:
    if not isinstance(value, list) or not value:
        return False
    for m in value:
        if not isinstance(m, dict) or not isinstance(m.get("role"), str) or not isinstance(m.get("content"), str):
            return False
    return True


def _conversation(value: Any, place: str, field: str) -> Messages:
    """A whole conversation: messages, an HH-RLHF transcript, or plain text (one user message)."""
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
