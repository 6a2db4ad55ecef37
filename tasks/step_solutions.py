"""Solutions whose steps are labelled right or wrong: read, and split by their problem.

Rows have the columns of TRL's stepwise supervision (`prompt`, `completions`: the steps, `labels`: of each), with `answer` and
`target` where the outcome is known apart, or those of BIG-Bench Mistake (`input`, `steps`, `mistake_index`, `answer`, `target`).
What is wrong after the first wrong step is not known there; nothing reads it.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl

from governance.errors import BadInput
from tasks.reading import FILE_ENDINGS, Row, read_rows
from tasks.rlhf.encoding import Messages
from tasks.simulated_mistakes import WorkedOut, with_mistakes
from tasks.splits import HELD_OUT_FROM, position, split_key
from tasks.training_params import Process

SIMULATED = "gsm8k-simulated"
Side = Literal["train", "dev", "test"]


@dataclass(frozen=True)
class Solution:
    """One solution of a problem. `labels`: whether each step is right, the steps after a wrong one unread; `right`: whether
    the answer is, which a mistake on the way does not decide; `answer`: as it stands there, where it is known."""

    id: str
    task: str
    prompt: Messages
    steps: list[str]
    labels: list[bool]
    answer: str | None
    right: bool

    @property
    def first_error(self) -> int | None:
        """Index of the first wrong step."""
        return self.labels.index(False) if False in self.labels else None

    @property
    def problem(self) -> str:
        """What tells problems apart."""
        return split_key(self.prompt)

    @property
    def simulated(self) -> bool:
        """Whether its mistake, if any, was made by a program."""
        return self.task == SIMULATED


def read_solutions(settings: Process, seed: int) -> list[Solution]:
    """At most `solutions` of each task, drawn by their problem and the seed, then those with simulated mistakes. Raises
    BadInput."""
    found = []
    for file in _files(Path(settings.traces)):
        rows = list(_of_file(file))
        for task in sorted({s.task for s in rows}):
            found += _drawn([s for s in rows if s.task == task], settings.solutions, seed)
    if SIMULATED in {s.task for s in found}:
        raise BadInput(f"process.traces: {settings.traces}: the task {SIMULATED} is this program's own; rename it.")
    return found + (_simulated(settings, seed) if settings.simulated else [])


def side_of(solution: Solution, dev_share: float) -> Side:
    """By the problem alone. The shipped base model never saw a problem of the test side."""
    key = solution.problem
    if position(key) >= HELD_OUT_FROM:
        return "test"
    return "dev" if position("dev:" + key) < dev_share else "train"


def table_of(solutions: Sequence[Solution], dev_share: float) -> pl.DataFrame:
    """Columns of TRL's stepwise supervision, and what else is known of each."""
    rows: list[dict[str, Any]] = [
        {
            "id": s.id,
            "prompt": [dict(m) for m in s.prompt],
            "completions": s.steps,
            "labels": s.labels,
            "task": s.task,
            "answer": s.answer,
            "right": s.right,
            "simulated": s.simulated,
            "side": side_of(s, dev_share),
        }
        for s in solutions
    ]
    return pl.DataFrame(rows, schema_overrides={"answer": pl.String})


def majority_answers(solutions: Sequence[Solution]) -> dict[str, int | None]:
    """The most frequent place of the first wrong step in each task; None: there is no wrong one."""
    counts: dict[str, Counter[int | None]] = {}
    for s in solutions:
        counts.setdefault(s.task, Counter())[s.first_error] += 1
    return {task: found.most_common(1)[0][0] for task, found in counts.items()}


def _files(source: Path) -> list[Path]:
    if not source.is_dir():
        return [source]
    files = [f for f in sorted(source.iterdir()) if f.name.lower().endswith(FILE_ENDINGS)]
    if not files or (source / "dataset_info.json").is_file():
        return [source]  # a saved dataset, or nothing that `read_rows` knows
    return files


def _of_file(file: Path) -> Iterator[Solution]:
    name = file.name.split(".")[0]
    for n, (place, row) in enumerate(read_rows(str(file))):
        yield (_mistake if "mistake_index" in row else _stepwise)(row, place, name, n)


def _stepwise(row: Row, place: str, name: str, n: int) -> Solution:
    steps, labels = row.get("completions"), row.get("labels")
    prompt = row.get("prompt")
    if isinstance(prompt, str) and prompt.strip():
        prompt = [{"role": "user", "content": prompt}]
    if not isinstance(prompt, list) or not prompt or not all(isinstance(m, dict) and "content" in m for m in prompt):
        raise BadInput(f"{place}: field prompt: must be text or messages.")
    if not isinstance(labels, list) or not all(isinstance(x, bool) for x in labels):
        raise BadInput(f"{place}: field labels: must be a list of true and false, one for each of completions.")
    steps = _steps(steps, place, "completions")
    if len(labels) != len(steps):
        raise BadInput(f"{place}: {len(steps)} completions and {len(labels)} labels; there must be a label for each.")
    answer, target = row.get("answer"), row.get("target")
    right = str(answer).strip() == str(target).strip() if answer is not None and target is not None else labels[-1]
    task = str(row.get("task") or name)
    return Solution(f"{name}-{n}", task, prompt, steps, labels, None if answer is None else str(answer), right)


def _mistake(row: Row, place: str, name: str, n: int) -> Solution:
    for field in ("input", "target"):
        if not isinstance(row.get(field), str):
            raise BadInput(f"{place}: field {field}: must be text.")
    answer = row.get("answer")  # null: the trace came to none
    steps, at = _steps(row.get("steps"), place, "steps"), row["mistake_index"]
    if at is not None and not (isinstance(at, int) and 0 <= at < len(steps)):
        raise BadInput(
            f"{place}: field mistake_index: must be null, or the place of a step from 0 to {len(steps) - 1}."
        )
    labels = [at is None or k < at for k in range(len(steps))]
    right = answer is not None and str(answer).strip() == row["target"].strip()
    prompt = [{"role": "user", "content": row["input"]}]
    return Solution(f"{name}-{n}", name, prompt, steps, labels, None if answer is None else str(answer), right)


def _steps(steps: Any, place: str, field: str) -> list[str]:
    if not isinstance(steps, list) or not steps or not all(isinstance(s, str) for s in steps):
        raise BadInput(f"{place}: field {field}: must be a list of steps.")
    return steps


def _drawn(rows: list[Solution], number: int, seed: int) -> list[Solution]:
    """At most `number`, whole problems first, in the order of the file."""
    order = sorted(range(len(rows)), key=lambda k: (position(f"{seed}:solution:{rows[k].problem}"), k))
    return [rows[k] for k in sorted(order[:number])]


def _simulated(settings: Process, seed: int) -> list[Solution]:
    problems = []
    for place, row in read_rows(settings.problems):
        for field in ("question", "answer"):
            if not isinstance(row.get(field), str):
                raise BadInput(f"{place}: field {field}: must be text.")
        problems.append((row["question"], row["answer"]))
    order = sorted(range(len(problems)), key=lambda k: position(f"{seed}:problem:{problems[k][0]}"))
    found: list[Solution] = []
    used = 0
    for k in order:
        made = with_mistakes(*problems[k], seed=f"{seed}:{problems[k][0]}")
        found += [_worked_out(problems[k][0], one, f"{SIMULATED}-{k}-{m}") for m, one in enumerate(made)]
        used += bool(made)
        if used == settings.simulated:
            break
    if not found:
        raise BadInput(
            f"process.problems: {settings.problems}: no solution has two <<a+b=c>> marks or more, of which a mistake could be "
            "made; set process.simulated to 0, or name another file."
        )
    return found


def _worked_out(question: str, made: WorkedOut, name: str) -> Solution:
    labels = [made.first_error is None or k < made.first_error for k in range(len(made.steps))]
    prompt = [{"role": "user", "content": question}]
    return Solution(name, SIMULATED, prompt, made.steps, labels, made.answer, made.right)
