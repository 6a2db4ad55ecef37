"""What the stage `reward` measures of process and outcome models, on problems of which nothing was trained or chosen.

First-error location: the first step below the threshold that the dev part chose, right if it is the labelled one, or if both say
that no step is wrong; beside the most frequent place in the training part. Selection: where a problem has right and wrong
solutions, one is picked by each score, by the most frequent answer (of equally frequent ones at random), or at random.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from tasks import paths
from tasks.process_rewards import Solutions
from tasks.rlhf.models import load_tokenizer
from tasks.rlhf.process_reward import Rule, aggregate, first_error, load_process_model, step_probabilities
from tasks.stage import Stage
from tasks.stats.calibration_error import brier_score, expected_calibration_error
from tasks.stats.intervals import bootstrap_mean, wilson_clustered
from tasks.step_solutions import Solution, majority_answers

LEVEL = 0.95
RESAMPLES = 1000
SIMULATED = "SIMULATED mistakes"
Row = dict[str, Any]
Drawn = dict[str, Any]


def measured(stage: Stage, solutions: Solutions) -> list[Row]:
    """Rows of `metrics.json`: {name, value, low, high, n, slice}; a mean over problems has the rows that were drawn as `n`."""
    trust = stage.params.base.trust_remote_code
    pad = load_tokenizer(paths.SFT, trust_remote_code=trust).pad_token_id
    test, bf16 = solutions.parts["test"], stage.params.process.bf16
    process = load_process_model(paths.PROCESS, trust_remote_code=trust)
    steps = step_probabilities(process, test.rows, pad, bf16=bf16)
    outcome = load_process_model(paths.OUTCOME, trust_remote_code=trust)
    answers = np.array([p[-1] for p in step_probabilities(outcome, test.rows, pad, bf16=bf16)])
    drawn = {"level": LEVEL, "resamples": RESAMPLES, "seed": stage.seed}
    train = solutions.parts["train"].solutions
    rows = locations(test.solutions, steps, process.config.error_thresholds, train, drawn)
    rows += outcomes(test.solutions, answers, train, drawn)
    rows += calibrations(test.solutions, steps, answers, drawn)
    rows += selections(test.solutions, steps, answers, stage.params.process.aggregate, drawn)
    models = {"process": paths.REWARD, "outcome": paths.REWARD}
    for row in rows:
        model = models.get(row["name"].split("/")[0])
        stage.log_metrics({row["name"]: row["value"]}, model=model, table=solutions.file)
    return rows


def locations(
    test: Sequence[Solution],
    steps: Sequence[np.ndarray],
    thresholds: dict[str, float],
    train: Sequence[Solution],
    drawn: Drawn,
) -> list[Row]:
    """Accuracy of the first error's place by task, of the most frequent place, and the difference, paired."""
    majority = majority_answers(train)
    rows = []
    for task in _tasks(test):
        own = [k for k, s in enumerate(test) if s.task == task]
        threshold = thresholds.get(task, thresholds[""])
        truth = [test[k].first_error for k in own]
        found = np.array([first_error(steps[k], threshold) == at for k, at in zip(own, truth, strict=True)])
        constant = np.array([majority.get(task) == at for at in truth])
        part = _Part([test[k] for k in own], drawn)
        rows += [part.share(f"process/first_error/{task}", found)]
        rows += [part.share(f"process/first_error_majority/{task}", constant)]
        rows += [part.mean(f"process/first_error_minus_majority/{task}", found.astype(float) - constant)]
    return rows


def outcomes(test: Sequence[Solution], answers: np.ndarray, train: Sequence[Solution], drawn: Drawn) -> list[Row]:
    """Accuracy of the outcome model by task at a probability of a half, beside the more frequent outcome's."""
    rows = []
    for task in _tasks(test):
        own = [k for k, s in enumerate(test) if s.task == task]
        right = np.array([test[k].right for k in own])
        mostly = np.mean([s.right for s in train if s.task == task] or [s.right for s in train]) >= 0.5
        part = _Part([test[k] for k in own], drawn)
        rows += [part.share(f"outcome/accuracy/{task}", (answers[own] >= 0.5) == right)]
        rows += [part.share(f"outcome/accuracy_majority/{task}", right == mostly)]
    return rows


def calibrations(test: Sequence[Solution], steps: Sequence[np.ndarray], answers: np.ndarray, drawn: Drawn) -> list[Row]:
    """ECE and Brier score of the steps' probabilities, up to the first wrong one, and of the answers'."""
    read = [len(s.labels) if s.first_error is None else s.first_error + 1 for s in test]
    of_steps = np.concatenate([p[:n] for p, n in zip(steps, read, strict=True)])
    labels = np.concatenate([s.labels[:n] for s, n in zip(test, read, strict=True)]).astype(float)
    problem = np.unique([s.problem for s in test], return_inverse=True)[1]
    right = np.array([s.right for s in test], dtype=float)
    every = {"process": (of_steps, labels, np.repeat(problem, read)), "outcome": (answers, right, problem)}
    rows = []
    for name, (p, y, clusters) in every.items():
        squares = (p - y) ** 2
        low, high = bootstrap_mean(squares, clusters=clusters, **drawn)
        rows.append(_row(f"{name}/brier", brier_score(p, y), low, high, len(p)))
        value, low, high = _ece(p, y, clusters, drawn)
        rows.append(_row(f"{name}/ece", value, low, high, len(p)))
    return rows


def selections(
    test: Sequence[Solution], steps: Sequence[np.ndarray], answers: np.ndarray, rule: Rule, drawn: Drawn
) -> list[Row]:
    """Share of right solutions among those that are picked, one a problem; nothing where no problem leaves a choice."""
    problems: dict[tuple[str, str], list[int]] = {}
    for k, s in enumerate(test):
        problems.setdefault((s.task, s.problem), []).append(k)
    open_ = {p: own for p, own in problems.items() if len({test[k].right for k in own}) == 2}
    rows = []
    for task in sorted({task for task, _ in open_}):
        groups = [own for (t, _), own in open_.items() if t == task]
        values: dict[str, np.ndarray] = {
            name: np.zeros(len(groups)) for name in ("process", "outcome", "majority", "random")
        }
        for n, own in enumerate(groups):
            right = [test[k].right for k in own]
            values["process"][n] = best_of([aggregate(steps[k], rule) for k in own], right)
            values["outcome"][n] = best_of(answers[own], right)
            values["majority"][n] = by_majority([test[k].answer for k in own], right)
            values["random"][n] = np.mean(right)
        part = _Part([test[own[0]] for own in groups], drawn)
        rows += [part.mean(f"best_of_n/{name}/{task}", v) for name, v in values.items()]
        for other in ("outcome", "majority", "random"):
            rows.append(part.mean(f"best_of_n/process_minus_{other}/{task}", values["process"] - values[other]))
    return rows


def best_of(scores: Sequence[float] | np.ndarray, right: Sequence[bool]) -> float:
    """Probability that the one with the highest score is right; of equally high ones any may be picked."""
    scores = np.asarray(scores)
    return float(np.mean(np.asarray(right, dtype=float)[scores == scores.max()]))


def by_majority(answers: Sequence[str | None], right: Sequence[bool]) -> float:
    """Probability that one with the most frequent answer is right; of equally frequent answers any may be picked."""
    counts = Counter(answers)
    most = max(counts.values())
    shares = [
        np.mean([r for a, r in zip(answers, right, strict=True) if a == x]) for x, n in counts.items() if n == most
    ]
    return float(np.mean(shares))


class _Part:
    """Solutions of one task, with the intervals of figures on them: rows of one problem stand and fall together."""

    def __init__(self, solutions: Sequence[Solution], drawn: Drawn) -> None:
        self._clusters = np.unique([s.problem for s in solutions], return_inverse=True)[1]
        self._slice = SIMULATED if all(s.simulated for s in solutions) else None
        self._drawn = drawn

    def share(self, name: str, hits: np.ndarray) -> Row:
        low, high = wilson_clustered(hits, self._clusters, LEVEL)
        return _row(name, int(hits.sum()) / len(hits), low, high, len(hits), self._slice)

    def mean(self, name: str, values: np.ndarray) -> Row:
        low, high = bootstrap_mean(values, clusters=self._clusters, **self._drawn)
        return _row(name, float(values.mean()), low, high, len(values), self._slice)


def _ece(p: np.ndarray, y: np.ndarray, clusters: np.ndarray, drawn: Drawn) -> tuple[float, float, float]:
    """ECE with the basic bootstrap's interval over clusters, which takes off what chance adds to it."""
    rng = np.random.default_rng(drawn["seed"])
    members = np.split(np.argsort(clusters, kind="stable"), np.cumsum(np.bincount(clusters))[:-1])
    again = []
    for _ in range(drawn["resamples"]):
        rows = np.concatenate([members[k] for k in rng.integers(len(members), size=len(members))])
        again.append(expected_calibration_error(p[rows], y[rows]))
    value = expected_calibration_error(p, y)
    low, high = 2 * value - np.quantile(again, [(1 + LEVEL) / 2, (1 - LEVEL) / 2])
    return value, max(0.0, float(low)), max(0.0, float(high))


def _tasks(solutions: Sequence[Solution]) -> list[str]:
    return sorted({s.task for s in solutions})


def _row(name: str, value: float, low: float, high: float, n: int, part: str | None = None) -> Row:
    return {"name": name, "value": value, "low": low, "high": high, "n": n, "slice": part}
