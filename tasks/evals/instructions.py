"""Instruction following by constraints that a program can check, in IFEval's file format (Zhou et al. 2023).

`prompts`: share of responses that follow all constraints of their prompt; `constraints`: share of constraints followed.
"""

import numpy as np

from governance.errors import BadInput
from tasks.evals.bench import Bench
from tasks.evals.compare import by_model
from tasks.evals.constraints import CHECKS, follows
from tasks.evals.files import each, need, user
from tasks.evals.multiple_choice import STEPS
from tasks.evals.result import Outcome
from tasks.reading import read_rows

Row = tuple[str, list[tuple[str, dict[str, object]]]]  # prompt, constraints with their arguments


def run(bench: Bench) -> Outcome:
    """Every file of `suite.instructions`."""
    outcome = Outcome()
    for name, path, rows in each(bench.settings.instructions, read):
        known = [r for r in rows if all(c in CHECKS for c, _ in r[1])]
        if len(known) < len(rows):
            missing = sorted({c for _, constraints in rows for c, _ in constraints if c not in CHECKS})
            outcome.notes.append(f"{name}: {len(rows) - len(known)} prompts ask for {', '.join(missing)}: left out.")
        if not known:
            continue
        some = [known[i] for i in bench.some(len(known))]
        followed = {m: _followed(bench, m, some) for m in bench.policies}
        clusters = np.repeat(np.arange(len(some)), bench.settings.samples)
        values = {
            "prompts": {m: np.array([float(all(f)) for f in every]) for m, every in followed.items()},
            "constraints": {m: np.array([float(np.mean(f)) for f in every]) for m, every in followed.items()},
        }
        for figure, by in values.items():
            outcome.results += by_model(bench, f"instructions/{name}/{figure}", by, clusters, {name: path}, None, STEPS)
    return outcome


def read(path: str) -> list[Row]:
    """Prompts of a file, with their constraints. Raises BadInput that names the row."""
    rows: list[Row] = []
    for place, row in read_rows(path):
        ids, arguments = row.get("instruction_id_list"), row.get("kwargs")
        if not isinstance(ids, list) or not ids or not isinstance(arguments, list) or len(arguments) != len(ids):
            raise BadInput(f"{place}: needs instruction_id_list and kwargs, two lists of one length.")
        if not all(a is None or isinstance(a, dict) for a in arguments):
            raise BadInput(f"{place}: field kwargs: must hold an object of arguments for each constraint.")
        given = [{k: v for k, v in (a or {}).items() if v is not None} for a in arguments]
        constraints = [(str(i), a) for i, a in zip(ids, given, strict=True)]
        for constraint, argument in constraints:
            _try(constraint, argument, place)
        rows.append((need(row, "prompt", place), constraints))
    return rows


def _try(constraint: str, arguments: dict[str, object], place: str) -> None:
    if constraint in CHECKS:
        try:
            follows(constraint, arguments, "word")
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(f"{place}: field kwargs: {constraint} lacks or mistakes {error}.") from None


def _followed(bench: Bench, model: str, rows: list[Row]) -> list[list[bool]]:
    answers = bench.respond(model, [user(prompt) for prompt, _ in rows])
    constraints = [c for _, c in rows for _ in range(answers.samples)]
    return [[follows(i, a, t) for i, a in every] for t, every in zip(answers.texts, constraints, strict=True)]
