"""Gold against proxy along the training: what reward model and judge say of responses that were sampled on the way.

Responses are those that the stage `ppo` left in its report: at the first update, when they are still SFT's, and at every
checkpoint. A gain is the mean of a step less that of the first, in standard deviations of the first's scores; intervals
draw responses of both steps. The prompts are the training's own, drawn anew at each step. Where the proxy's line goes on
rising and the gold's turns is the place to stop (Gao, Schulman and Hilton 2023); docs/over-optimization.md says what
becomes of it on more optimisation than a default run has.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from tasks.evals.bench import Bench
from tasks.evals.result import Curve, Outcome
from tasks.rlhf.encoding import stop_token_id

SCORERS = {"proxy": "reward", "gold": "judge"}


def run(bench: Bench) -> Outcome:
    """Every step of which there are samples."""
    outcome = Outcome()
    if bench.training is None:
        outcome.notes.append("data/reports/ppo/samples.jsonl is not the run's any more; `dvc checkout` brings it back.")
        return outcome
    rows = [json.loads(line) for line in bench.training.read_text(encoding="utf-8").splitlines()]
    steps = np.array([row["step"] for row in rows], dtype=int)
    if len(np.unique(steps)) < 2:
        outcome.notes.append("The training left samples of one step at most: lower ppo.save_steps.")
        return outcome
    first, *later = np.unique(steps).tolist()
    where, lines = {"training samples": bench.training}, {}
    for name, scorer in SCORERS.items():
        scores = _scores(bench, scorer, rows)
        unit = float(scores[steps == first].std()) or 1.0
        lines[name] = [(float(first), 0.0)]
        for step in later:
            some = np.flatnonzero((steps == first) | (steps == step))
            estimate = bench.bootstrap(_gain(scores[some] / unit, steps[some] == step), np.arange(len(some)))
            n, models = int((steps == step).sum()), [scorer]
            outcome.results.append(bench.result(f"training/gain/{name}", estimate, n, where, models, f"step {step}"))
            lines[name].append((float(step), estimate[0]))
    title = "Gold against proxy along the training"
    outcome.curves.append(Curve(title, "update", "gain (σ of the first update's responses)", lines))
    return outcome


def _gain(scores: np.ndarray, later: np.ndarray) -> Any:
    """A statistic of drawn rows: mean of the later step's scores less that of the first's; NaN if one is not drawn."""

    def gain(rows: np.ndarray) -> float:
        both = [scores[rows[later[rows] == side]] for side in (True, False)]
        return float(both[0].mean() - both[1].mean()) if all(map(len, both)) else float("nan")

    return gain


def _scores(bench: Bench, scorer: str, rows: Sequence[dict[str, Any]]) -> np.ndarray:
    """(n,) the model's own score of each response, whether it ended or not."""
    tokenizer, _ = bench.scorer(scorer)
    prompts, answers = (
        tokenizer([row[side] for row in rows], add_special_tokens=False)["input_ids"] for side in ("prompt", "response")
    )
    answers = [a + [stop_token_id(tokenizer)] * row["ended"] for a, row in zip(answers, rows, strict=True)]
    conversations = [p + a for p, a in zip(prompts, answers, strict=True)]
    return bench.score(scorer, conversations, [max(1, len(a)) for a in answers])
