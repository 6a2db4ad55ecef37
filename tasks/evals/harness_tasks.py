"""Tasks of lm-evaluation-harness on base, SFT and policy, through its own model interface (`HFLM`).

A task is a name that the harness knows (a group's tasks are slices), or a YAML file of the reader's own. Every item is
asked in the model's chat template, as everywhere in this suite. Where a metric is a number for each item, its mean and
the paired differences of models are given; of the others (perplexities, F1 of a whole set) the task's own aggregate, its
interval by drawing items.
"""

import contextlib
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from governance.digest import write_jsonl
from governance.errors import BadInput
from tasks.evals import extras
from tasks.evals.bench import Bench
from tasks.evals.compare import by_model
from tasks.evals.multiple_choice import STEPS
from tasks.evals.result import Outcome
from tasks.evaluation_params import Suite

BATCH = 16
RESAMPLES = 200  # of metrics that are no means
NUMBER = (int, float, np.number, np.bool_)
ASKED = ("doc_id", "doc_hash", "prompt_hash", "target_hash")


def check(settings: Suite) -> None:
    """Raises MissingComponent if tasks are named and the harness is not installed."""
    extras.need(settings.harness, "harness", "lm_eval", "harness")


def run(bench: Bench) -> Outcome:
    """Every task of `suite.harness`."""
    outcome = Outcome()
    if not bench.settings.harness:
        outcome.notes.append("suite.harness names no task.")
        return outcome
    from lm_eval.tasks import TaskManager

    manager = TaskManager()
    for name, spec in bench.settings.harness.items():
        try:
            tasks = manager.load(spec)["tasks"]
        except Exception as error:  # loading runs the task's own code, and its data set's
            said = " ".join(str(error).split())[:300]
            raise BadInput(f"suite.harness.{name}: {spec}: cannot be loaded ({said}).") from None
        drawn = {t: bench.some(len(task.eval_docs), 3 * bench.settings.items).tolist() for t, task in tasks.items()}
        measured = {m: _measure(bench, m, spec, manager, drawn) for m in bench.policies}
        for task in tasks:
            part = task if len(tasks) > 1 else None
            samples = {m: sorted(f[task], key=lambda s: s["doc_id"]) for m, f in measured.items()}
            _record(bench, outcome, f"harness/{name}", part, tasks[task], samples)
    return outcome


def _measure(
    bench: Bench, model: str, spec: str, manager: Any, drawn: dict[str, list[int]]
) -> dict[str, list[dict[str, Any]]]:
    """What the harness says of a model: by task, a row for each item and filter."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM

    tokenizer, network = bench.language_model(model)
    with contextlib.redirect_stdout(sys.stderr):
        found = lm_eval.simple_evaluate(
            model=HFLM(pretrained=network, tokenizer=tokenizer, batch_size=BATCH),
            tasks=[spec],
            task_manager=manager,
            samples=drawn,
            apply_chat_template=True,
            bootstrap_iters=0,  # intervals are this suite's
            random_seed=bench.seed,
            numpy_random_seed=bench.seed,
            torch_random_seed=bench.seed,
            fewshot_random_seed=bench.seed,
        )
    assert found is not None  # only other processes of a distributed run get nothing
    return dict(found["samples"])


def _record(
    bench: Bench, outcome: Outcome, metric: str, part: str | None, task: Any, samples: dict[str, list[dict[str, Any]]]
) -> None:
    """Figures of one task, by every filter and metric of it; `samples`: of each model, in the same order."""
    first = next(iter(samples.values()))
    aggregates = task.aggregation()
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder) / "asked.jsonl"
        write_jsonl(asked, [{k: s[k] for k in ASKED} for s in first])
        where = {part or metric.split("/")[1]: asked}
        for name, filter_ in dict.fromkeys((m, s["filter"]) for s in first for m in s["metrics"]):
            full = f"{metric}/{name}" if filter_ == "none" else f"{metric}/{name}/{filter_}"
            items = {m: [s[name] for s in of if s["filter"] == filter_] for m, of in samples.items()}
            rows = np.arange(len(next(iter(items.values()))))
            if all(isinstance(v, NUMBER) for of in items.values() for v in of):
                values = {m: np.array(of, dtype=float) for m, of in items.items()}
                outcome.results += by_model(bench, full, values, rows, where, part, STEPS)
                continue
            for m, of in items.items():

                def whole(drawn: np.ndarray, of: list[Any] = of, name: str = name) -> float:
                    return float(aggregates[name]([of[i] for i in drawn]))

                estimate = bench.bootstrap(whole, rows, RESAMPLES)
                outcome.results.append(bench.result(f"{full}/{m}", estimate, len(rows), where, [m], part))
