"""Tasks of Inspect on base, SFT and policy, through its own model interface (`ModelAPI`).

A task is `file.py@name`, or a registered one. Responses are sampled and cached as everywhere in this suite: what is asked
at the same time is one batch, and the k-th time that a prompt is asked draws its k-th sample. Every score of a sample is a
figure: letters as Inspect values them (C 1, P ½, I and N 0). A task that grades with a model is graded by the policy
itself unless it names its grader.
"""

import contextlib
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from governance.digest import write_jsonl
from governance.errors import BadInput
from tasks.evals import extras
from tasks.evals.bench import BATCH, GREEDY, Bench
from tasks.evals.compare import by_model
from tasks.evals.multiple_choice import STEPS
from tasks.evals.result import Outcome
from tasks.evaluation_params import Suite

TOGETHER = 0.02  # seconds in which requests gather to one batch
Scored = dict[tuple[str, int], dict[str, float]]  # scores by name of each (item, epoch)


def check(settings: Suite) -> None:
    """Raises MissingComponent if tasks are named and Inspect is not installed."""
    extras.need(settings.inspect, "inspect", "inspect_ai", "inspect")


def run(bench: Bench) -> Outcome:
    """Every task of `suite.inspect`."""
    outcome = Outcome()
    if not bench.settings.inspect:
        outcome.notes.append("suite.inspect names no task.")
    for name, spec in bench.settings.inspect.items():
        asked: list[dict[str, Any]] = []
        scored = {}
        for model in bench.policies:
            scored[model], asked = _measure(bench, model, name, spec)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "asked.jsonl"
            write_jsonl(file, asked)
            bench.file_digest(file)
            _record(bench, outcome, name, scored, file)
    return outcome


def _record(bench: Bench, outcome: Outcome, name: str, scored: dict[str, Scored], asked: Path) -> None:
    """Figures over the samples that every model has a score of."""
    first = next(iter(scored.values()))
    for score in sorted({s for scores in first.values() for s in scores}):
        rows = [row for row in first if all(score in of.get(row, {}) for of in scored.values())]
        if len(rows) < len(first):
            outcome.notes.append(f"inspect/{name}/{score}: {len(first) - len(rows)} of {len(first)} have no number.")
        if rows:
            values = {m: np.array([of[row][score] for row in rows]) for m, of in scored.items()}
            items = np.unique([item for item, _ in rows], return_inverse=True)[1]
            outcome.results += by_model(bench, f"inspect/{name}/{score}", values, items, {name: asked}, None, STEPS)


def _measure(bench: Bench, model: str, name: str, spec: str) -> tuple[Scored, list[dict[str, Any]]]:
    """(scores, what was asked) of one model. Raises BadInput if the task cannot be run to its end."""
    from inspect_ai import eval as evaluate

    problem = f"suite.inspect.{name}: {spec}: does not run to its end"
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        try:
            logs = evaluate(
                spec,
                model=_as_inspect_sees_it(bench, model),
                limit=bench.settings.items,
                sample_shuffle=bench.seed,
                display="none",
                log_dir=folder,
                log_format="json",
                fail_on_error=True,
            )
        except Exception as error:  # the task's own code
            raise BadInput(f"{problem} ({' '.join(str(error).split())[:300]}).") from None
    if not logs:
        raise BadInput(f"suite.inspect.{name}: {spec}: is no task; give file.py@name or the name of a registered one.")
    (log, *_) = logs
    if log.status != "success" or not log.samples:
        said = log.error.message if log.error else "it has no samples"
        raise BadInput(f"{problem} ({' '.join(said.split())[:300]}).")
    samples = sorted(log.samples, key=lambda s: (str(s.id), s.epoch))
    asked = [{"id": s.id, "input": json.loads(s.model_dump_json())["input"], "target": s.target} for s in samples]
    return {(str(s.id), s.epoch): _numbers(s.scores or {}) for s in samples}, asked


def _numbers(scores: dict[str, Any]) -> dict[str, float]:
    """Scores that are numbers, or letters for them, by name; of a score of several parts, each part."""
    from inspect_ai.scorer import value_to_float

    as_number = value_to_float()
    found: dict[str, float] = {}
    for name, score in scores.items():
        parts = {f"{name}/{k}": v for k, v in score.value.items()} if isinstance(score.value, dict) else {}
        for full, value in (parts or {name: score.value}).items():
            if isinstance(value, str | int | float | bool):
                found[full] = float(as_number(value))
    return found


def _as_inspect_sees_it(bench: Bench, model: str) -> Any:
    """The bench's model behind Inspect's interface."""
    import anyio
    from inspect_ai.model import GenerateConfig, ModelAPI, ModelOutput, get_model, modelapi

    @modelapi(name="attestrl")
    class Policy(ModelAPI):
        def __init__(self, model_name: str, *_: Any, **__: Any) -> None:
            super().__init__(model_name)
            self.lock = anyio.Lock()
            self.waiting: list[tuple[tuple[Any, ...], list[ModelOutput]]] = []
            self.drawn: Counter[tuple[Any, ...]] = Counter()

        def max_connections(self) -> int:
            return BATCH

        async def generate(self, input: list[Any], tools: list[Any], tool_choice: Any, config: GenerateConfig) -> Any:
            if tools:
                raise ValueError("the policy calls no tools, and this task gives it some")
            messages = tuple((m.role, m.text) for m in input)
            temperature = bench.settings.temperature if config.temperature is None else config.temperature
            limit = config.max_tokens or bench.settings.max_new_tokens
            answer: list[ModelOutput] = []
            self.waiting.append(((messages, max(temperature, GREEDY), limit, tuple(config.stop_seqs or ())), answer))
            async with self.lock:
                if not answer:
                    await anyio.sleep(TOGETHER)
                    batch, self.waiting = self.waiting, []
                    self._answer(batch)
            return answer[0]

        def _answer(self, batch: list[tuple[tuple[Any, ...], list[ModelOutput]]]) -> None:
            groups: dict[tuple[Any, ...], list[tuple[tuple[Any, ...], list[ModelOutput]]]] = {}
            for request, answer in batch:
                number = self.drawn[request]
                self.drawn[request] += 1
                groups.setdefault((*request[1:], number), []).append((request, answer))
            for (temperature, limit, stops, number), some in groups.items():
                prompts = [[{"role": role, "content": text} for role, text in request[0]] for request, _ in some]
                given = bench.respond(model, prompts, samples=number + 1, temperature=temperature, max_new_tokens=limit)
                for i, (_, answer) in enumerate(some):
                    at = i * (number + 1) + number
                    text = min((given.texts[at].split(stop)[0] for stop in stops), key=len, default=given.texts[at])
                    stopped = "stop" if given.ended[at] else "max_tokens"
                    answer.append(ModelOutput.from_content(model, text, stop_reason=stopped))

    return get_model(f"attestrl/{model}", memoize=False)
