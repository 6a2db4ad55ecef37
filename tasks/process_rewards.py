"""Process and outcome reward models in the stage `reward`: trained on solutions with labelled steps, and kept inside the
reward model's folder, so that digest, registry and release hold them together."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from governance.digest import sha256_path, write_json, write_jsonl
from governance.errors import BadInput
from tasks import paths
from tasks.checkpoints import Checkpoints, checkpoints_of
from tasks.lineage import lineage_of
from tasks.plots import save_curves
from tasks.rlhf.encoding import stop_token_id
from tasks.rlhf.models import merged, save_model
from tasks.rlhf.process_reward import (
    Encoded,
    Level,
    best_threshold,
    encode_solutions,
    new_process_model,
    outcome_targets,
    process_targets,
    step_probabilities,
)
from tasks.rlhf.process_trainer import Labelled, train_on_steps
from tasks.rlhf.processes import from_first
from tasks.rlhf.sft_trainer import curves_into
from tasks.rlhf.sharding import plain
from tasks.stage import Stage
from tasks.step_solutions import Side, Solution, read_solutions, side_of, table_of
from tasks.tables import write_table
from tasks.trainings import as_trained, resume_of

FOLDERS = {"process": paths.PROCESS, "outcome": paths.OUTCOME}
SEEDS = {"process": 0, "outcome": 1}  # added to the run's: two heads that start alike would err alike
SIDES: tuple[Side, ...] = ("train", "dev", "test")
History = list[dict[str, float]]


@dataclass(frozen=True)
class Part:
    """Solutions of one side, and the tokens of each."""

    solutions: list[Solution]
    rows: list[Encoded]


@dataclass(frozen=True)
class Solutions:
    """All that is learnt from and measured, by side, and the table of it, `file`, with its `sha256`."""

    parts: dict[Side, Part]
    file: Path
    sha256: str


def solutions_of(stage: Stage, tokenizer: Any) -> Solutions:
    """Solutions of the sources that params.yaml names, without those that are too long; the first process writes the table.
    Raises BadInput if a side has none."""
    settings = stage.params.process
    found = read_solutions(settings, stage.seed)
    rows = encode_solutions(tokenizer, [s.prompt for s in found], [s.steps for s in found], stop_token_id(tokenizer))
    fits = [len(row.ids) <= settings.max_length for row in rows]
    solutions = [s for s, fit in zip(found, fits, strict=True) if fit]
    parts = parts_of(solutions, [r for r, fit in zip(rows, fits, strict=True) if fit], settings.dev_share)
    for side, part in parts.items():
        if not part.rows:
            raise BadInput(
                f"process: of {len(found)} solutions in {settings.traces}, {len(solutions)} have at most process.max_length = "
                f"{settings.max_length} tokens, and none of these is on the side {side}; raise it, or process.solutions."
            )
    file = stage.report / "process_solutions.parquet"
    if not stage.follows:
        stage.notes["process"] = _note(found, solutions, parts)
    return Solutions(parts, file, from_first(lambda: _written(stage, solutions, file)))


def parts_of(solutions: list[Solution], rows: list[Encoded], dev_share: float) -> dict[Side, Part]:
    """Solutions by the side of their problem."""
    parts: dict[Side, Part] = {side: Part([], []) for side in SIDES}
    for s, row in zip(solutions, rows, strict=True):
        part = parts[side_of(s, dev_share)]
        part.solutions.append(s)
        part.rows.append(row)
    return parts


def labelled(name: str, part: Part, level: Level) -> list[Labelled]:
    """Token ids and labels of a side, as the model of this name learns them."""
    both = zip(part.solutions, part.rows, strict=True)
    if name == "process":
        return [(row.ids, process_targets(row, s.labels, level)) for s, row in both]
    return [(row.ids, outcome_targets(row, s.right, level)) for s, row in both]


def thresholds_of(steps: Sequence[np.ndarray], dev: Sequence[Solution]) -> dict[str, float]:
    """The threshold of each task that the dev part has, and under "" of all together; `steps`: of its solutions."""
    chosen = {"": best_threshold(steps, [s.first_error for s in dev])}
    for task in sorted({s.task for s in dev}):
        own = [k for k, s in enumerate(dev) if s.task == task]
        chosen[task] = best_threshold([steps[k] for k in own], [dev[k].first_error for k in own])
    return chosen


def _written(stage: Stage, solutions: list[Solution], file: Path) -> str:
    """SHA-256 of the table of the solutions, which is written here."""
    settings = stage.params.process
    for source in (settings.traces, settings.problems) if settings.simulated else (settings.traces,):
        stage.input_table(Path(source), "training")
    write_table(table_of(solutions, settings.dev_share), file)
    return sha256_path(stage.input_table(file, "training"))


def _note(found: list[Solution], used: list[Solution], parts: dict[Side, Part]) -> dict[str, Any]:
    """What the record says of the data."""
    given, left = (Counter(s.task for s in some) for some in (found, used))
    tasks = {
        task: {"too_long": given[task] - left[task]}
        | {side: sum(s.task == task for s in part.solutions) for side, part in parts.items()}
        for task in given
    }
    simulated = sum(s.simulated and s.first_error is not None for s in used)
    return {"tasks": tasks, "simulated_mistakes": simulated}


def train(
    stage: Stage, tokenizer: Any, solutions: Solutions, kept: list[Checkpoints]
) -> tuple[dict[str, str], dict[str, float], History]:
    """Train and save both models; (what the reward model's lineage says of them, figures of the best evaluations, rows of
    the curves). Checkpoints of each training are added to `kept`."""
    data = {"process_solutions_sha256": solutions.sha256}
    lineage = lineage_of(paths.SFT) | data
    best: dict[str, float] = {}
    curves: History = []
    for name, folder in FOLDERS.items():
        kept.append(checkpoints_of(stage, lineage, name, section="process"))
        figures, history = _train_one(stage, name, tokenizer, solutions, kept[-1])
        if stage.follows:
            continue
        said = {"level": stage.params.process.level, "aggregate": stage.params.process.aggregate}
        write_json(folder / "lineage.json", lineage | (said if name == "process" else {}))
        best |= {f"{name}/dev/{k}": figures[k] for k in ("loss", "best_step")}
        curves += [{(k if k == "step" else f"{name}/{k}"): v for k, v in row.items()} for row in history]
    return data, best, curves


def _train_one(
    stage: Stage, name: str, tokenizer: Any, solutions: Solutions, checkpoints: Checkpoints
) -> tuple[dict[str, float], History]:
    """(figures of the best evaluation, rows of the curves)."""
    settings, seed = stage.params.process, stage.seed + SEEDS[name]
    trust = stage.params.base.trust_remote_code
    model = new_process_model(paths.SFT, tokenizer.pad_token_id, seed, trust_remote_code=trust)
    history: History = []
    trained = as_trained(stage, model, "TOKEN_CLS", seed)
    resume = resume_of(stage, checkpoints, name, settings.save_steps)
    learnt, dev = (labelled(name, solutions.parts[side], settings.level) for side in SIDES[:2])
    best = train_on_steps(
        trained, tokenizer.pad_token_id, learnt, dev, settings, seed, curves_into(history), name, resume
    )
    trained = plain(trained)
    if stage.follows:
        return best, history
    model = merged(trained)
    if name == "process":
        part = solutions.parts["dev"]
        steps = step_probabilities(model, part.rows, tokenizer.pad_token_id, bf16=settings.bf16)
        model.config.error_thresholds = thresholds_of(steps, part.solutions)
    save_model(model, tokenizer, FOLDERS[name])
    write_jsonl(stage.report / f"history-{name}.jsonl", history)
    picture = stage.report / f"training-{name}.png"
    save_curves(history, {"loss": ["loss", "eval_loss"]}, picture, f"{name} reward model")
    stage.log_artifact(picture)
    return best, history
