"""The suite: every evaluation by name, in the order of the report."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from governance.digest import write_json
from governance.errors import BadInput
from tasks.evals import (
    capability,
    fine_tuning,
    hacking,
    harm,
    harness_tasks,
    inspect_tasks,
    instructions,
    multiple_choice,
    novelty,
    preference,
    pronouns,
    ratings,
    red_team,
    reward_accuracy,
    reward_best_of_n,
    reward_perturbation,
    reward_probes,
    reward_search,
    reward_surface,
    stated_confidence,
    sycophancy,
    training,
    uncertainty,
)
from tasks.evals.bench import Bench
from tasks.evals.files import read_pairs, read_prompts, read_questions
from tasks.evals.result import Outcome
from tasks.evaluation_params import Suite

SCHEMA = "attestrl/evaluation/1"
EVALUATIONS: dict[str, Callable[[Bench], Outcome]] = {
    "preference": preference.run,
    "ratings": ratings.run,
    "harm": harm.run,
    "red_team": red_team.run,
    "novelty": novelty.run,
    "hacking": hacking.run,
    "training": training.run,
    "sycophancy": sycophancy.run,
    "pronouns": pronouns.run,
    "multiple_choice": multiple_choice.run,
    "stated_confidence": stated_confidence.run,
    "instructions": instructions.run,
    "capability": capability.run,
    "fine_tuning": fine_tuning.run,
    "harness": harness_tasks.run,
    "inspect": inspect_tasks.run,
    "uncertainty": uncertainty.run,
    "reward_accuracy": reward_accuracy.run,
    "reward_perturbation": reward_perturbation.run,
    "reward_surface": reward_surface.run,
    "reward_probes": reward_probes.run,
    "reward_best_of_n": reward_best_of_n.run,
    "reward_search": reward_search.run,
}
READERS: dict[str, Callable[[str], object]] = {  # of the files that a section names
    "pairs": read_pairs,
    "harmful": read_prompts,
    "harmless": read_prompts,
    "sycophancy": sycophancy.read,
    "pronouns": pronouns.read,
    "multiple_choice": read_questions,
    "instructions": instructions.read,
    "problems": capability.read_problems,
}
CHECKS = {"harness": harness_tasks.check, "inspect": inspect_tasks.check}  # what must be installed


def check_names(names: Sequence[str]) -> list[str]:
    """The named evaluations, or all of them, in the suite's order. Raises BadInput for an unknown one."""
    unknown = [n for n in names if n not in EVALUATIONS]
    if unknown:
        raise BadInput(f"--suite {unknown[0]}: is not an evaluation; they are {', '.join(EVALUATIONS)}.")
    return [n for n in EVALUATIONS if not names or n in names]


def check_files(settings: Suite) -> None:
    """Read every file that the suite names once. Raises BadInput with one sentence that names the key and the row."""
    named = [(section, getattr(settings, section), read) for section, read in READERS.items()]
    for section, files, read in [*named, ("fine_tuning.data", settings.fine_tuning.data, capability.read_problems)]:
        for name, path in files.items():
            try:
                read(path)
            except BadInput as error:
                raise BadInput(f"suite.{section}.{name}: {error}") from None


def run(bench: Bench, names: Sequence[str], folder: Path) -> None:
    """Write `<folder>/<name>.json` of each evaluation as soon as it is done. Raises MissingComponent if one of them cannot
    be, and BadInput if a file cannot be read, before anything is measured."""
    for name, check in CHECKS.items():
        if name in names:
            check(bench.settings)
    check_files(bench.settings)
    for name in names:
        started, used = time.monotonic(), time.process_time()
        outcome = EVALUATIONS[name](bench)
        content: dict[str, Any] = {
            "schema": SCHEMA,
            "evaluation": name,
            "seconds": round(time.monotonic() - started, 2),
            "cpu_seconds": round(time.process_time() - used, 2),
        }
        write_json(folder / f"{name}.json", content | finite(outcome.as_dict()))


def finite(value: Any) -> Any:
    """The value with None for NaN and infinity, which JSON lacks."""
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    return [finite(v) for v in value] if isinstance(value, list | tuple) else value
