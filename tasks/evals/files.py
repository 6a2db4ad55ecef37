"""Files of evaluation items: pairs, prompts, questions, in the formats in which they are published.

Pairs are RewardBench's and TRL's (prompt, chosen, rejected), LLMBar's (input, output_1, output_2, label) and PandaLM's
(instruction, input, response1, response2, annotator1, …: votes 0 tie, 1, 2). Multiple choice is this project's, MMLU's,
ARC's, TruthfulQA's, HellaSwag's or BIG-bench's.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from governance.errors import BadInput
from tasks.formats import read_preferences
from tasks.reading import Row, read_rows
from tasks.rlhf.encoding import Messages

PROMPT_FIELDS = ("prompt", "question", "goal", "input", "text")


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt. `label`: 1 or 2, the preferred one, 0 a tie; `votes`: of people, where there are
    several; `source`: subset it belongs to."""

    prompt: Messages
    first: str
    second: str
    label: int
    votes: tuple[int, ...]
    source: str


@dataclass(frozen=True)
class Question:
    """Multiple choice: `right` are the indices of right choices (several in MC2 sets)."""

    question: str
    choices: list[str]
    right: list[int]
    source: str


def read_pairs(path: str) -> list[Pair]:
    """Pairs of a file, in one of the formats above. Raises BadInput that names the row."""
    name = Path(path).name.split(".")[0]
    place, first = next(read_rows(path))
    if "output_1" in first:
        return [_llmbar(row, place, name) for place, row in read_rows(path)]
    if "response1" in first:
        return [_pandalm(row, place, name) for place, row in read_rows(path)]
    if "chosen" not in first:
        fields = ", ".join(sorted(map(str, first)))
        raise BadInput(
            f"{place}: is no pair (fields: {fields}); give prompt, chosen, rejected, or input, output_1, output_2, label."
        )
    table = read_preferences(path)
    subsets = [str(row.get("subset") or row.get("source") or name) for _, row in read_rows(path)]
    if len(subsets) != table.height:  # rankings give several pairs a row
        subsets = [source or name for source in table["source"].to_list()]
    return [
        Pair(row["prompt"], row["chosen"][-1]["content"], row["rejected"][-1]["content"], 1, (), subset)
        for row, subset in zip(table.iter_rows(named=True), subsets, strict=True)
    ]


def _llmbar(row: Row, place: str, name: str) -> Pair:
    label = row.get("label")
    if label not in (1, 2, "1", "2"):
        raise BadInput(f"{place}: field label: is {label!r}; must be 1 or 2, the better output.")
    sides = [need(row, key, place, empty=key != "input") for key in ("input", "output_1", "output_2")]
    return Pair(user(sides[0]), sides[1], sides[2], int(label), (), str(row.get("subset") or name))


def _pandalm(row: Row, place: str, name: str) -> Pair:
    votes = [row[key] for key in sorted(row) if str(key).startswith("annotator") and row[key] not in (None, "")]
    if not votes or any(str(v) not in ("0", "1", "2") for v in votes):
        raise BadInput(f"{place}: fields annotator1, …: must hold votes 0 (tie), 1 or 2.")
    cast = tuple(int(v) for v in votes)
    most = max(set(cast), key=lambda v: (cast.count(v), -v))
    label = most if cast.count(most) * 2 > len(cast) else 0
    parts = (need(row, "instruction", place, empty=True), str(row.get("input") or ""))
    said = "\n\n".join(t.strip() for t in parts if t.strip())
    first, second = (need(row, key, place, empty=True) for key in ("response1", "response2"))
    return Pair(user(said), first, second, label, cast, name)


def read_prompts(path: str) -> list[Messages]:
    """Prompts of a file: text or messages in the first of the fields prompt, question, goal, input, text; of
    instruction sets the instruction with its input."""
    return [_prompt(row, place) for place, row in read_rows(path)]


def _prompt(row: Row, place: str) -> Messages:
    if row.get("instruction") or (row.get("input") and "instruction" in row):
        return user("\n\n".join(str(t) for t in (row["instruction"], row.get("input")) if t))
    for name in PROMPT_FIELDS:
        if isinstance(row.get(name), str):
            return user(row[name])
        if _is_conversation(row.get(name)):
            return list(row[name])
    raise BadInput(f"{place}: has no prompt; name it in one of the fields {', '.join(PROMPT_FIELDS)}.")


def _is_conversation(value: Any) -> bool:
    """Whether it is messages of text, at least one."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(m, dict) and all(isinstance(m.get(k), str) for k in ("role", "content")) for m in value)
    )


def read_questions(path: str) -> list[Question]:
    """Multiple choice: question, choices (list), and answer (index, letter or text) or labels (0 or 1 for each); or the
    fields of a published set."""
    name = Path(path).name.split(".")[0]
    return [_question(_published(row), place, name) for place, row in read_rows(path)]


def _published(row: Row) -> Row:
    """A row of ARC, TruthfulQA, HellaSwag or BIG-bench in this project's fields; any other as it is."""
    choices, targets, scores = (
        row.get("choices"),
        row.get("mc2_targets", row.get("mc1_targets")),
        row.get("target_scores"),
    )
    if isinstance(choices, dict) and isinstance(choices.get("text"), list):
        labels, key = choices.get("label"), row.get("answerKey")
        marks = labels if isinstance(labels, list) else []
        answer = marks.index(key) if key in marks else None
        return row | {
            "question": row.get("question", row.get("question_stem")),
            "choices": choices["text"],
            "answer": answer,
        }
    if isinstance(targets, dict):
        return row | {name: targets.get(name) for name in ("choices", "labels")}
    if isinstance(row.get("endings"), list):
        label = str(row.get("label"))
        return row | {
            "question": row.get("ctx"), "choices": row["endings"], "answer": int(label) if label.isdecimal() else None
        }  # fmt: skip
    if isinstance(scores, dict) and scores and all(isinstance(s, int | float) for s in scores.values()):
        best = max(scores.values())
        labels = [int(s == best) for s in scores.values()]
        return row | {"question": row.get("input"), "choices": list(scores), "labels": labels}
    return row


def _question(row: Row, place: str, name: str) -> Question:
    choices, answer, labels = row.get("choices"), row.get("answer"), row.get("labels")
    if not isinstance(choices, list) or len(choices) < 2 or not all(isinstance(c, str) and c.strip() for c in choices):
        raise BadInput(f"{place}: field choices: must be a list of two or more texts.")
    if isinstance(labels, list) and len(labels) == len(choices):
        right = [i for i, label in enumerate(labels) if label in (1, True)]
    elif isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(choices):
        right = [answer]
    elif isinstance(answer, str) and answer in choices:
        right = [choices.index(answer)]
    elif isinstance(answer, str) and len(answer) == 1 and 0 <= ord(answer.upper()) - 65 < len(choices):
        right = [ord(answer.upper()) - 65]
    else:
        right = []
    if not right:
        raise BadInput(f"{place}: names no right choice; give answer (index, letter or text) or labels (0 or 1 each).")
    return Question(need(row, "question", place), choices, right, str(row.get("source") or row.get("subset") or name))


def each(files: dict[str, str], read: Callable[[str], list[Any]]) -> Iterator[tuple[str, str, list[Any]]]:
    """(name, path, items) of every file."""
    for name, path in files.items():
        yield name, path, read(path)


def need(row: Row, name: str, place: str, *, empty: bool = False) -> str:
    """A field that must hold text; `empty`: none at all is text, too (a model that said nothing)."""
    value = row.get(name)
    if not isinstance(value, str) or not (empty or value.strip()):
        raise BadInput(f"{place}: field {name}: must be text.")
    return value


def user(content: str) -> Messages:
    """A prompt of one message."""
    return [{"role": "user", "content": content}]
