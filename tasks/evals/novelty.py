"""Prompts unlike those that were trained on: does the policy get worse with distance, and do the scorers notice?

Distance is 1 − the cosine to the nearest training prompt (`tasks.prompt_space`). Prompts are the run's held-out ones and
those of every file of the suite; thirds by distance are compared: the judge's score, harm as in `harm`, repetition,
answers without an end. `uncertainty_by_distance` is Spearman's correlation of distance and the disagreement of reward
model and judge: a system that knows what it does not know has it above 0.
"""

from collections.abc import Sequence

import numpy as np
from scipy.stats import spearmanr

from tasks.evals.bench import Bench
from tasks.evals.files import each, read_pairs, read_prompts, read_questions, user
from tasks.evals.harm import harm_limit
from tasks.evals.held_out import held_out_prompts
from tasks.evals.result import Finding, Outcome
from tasks.evals.surface import refuses, repetition
from tasks.prompt_space import PromptSpace, prompt_text, training_prompts
from tasks.rlhf.encoding import Messages

THIRDS = ("near", "middle", "far")
SHOWN = 5


def run(bench: Bench) -> Outcome:
    """One answer of the policy to each prompt."""
    outcome = Outcome()
    prompts, where = _prompts(bench)
    space = PromptSpace.of(training_prompts(bench.sides), bench.seed)
    distance = space.distance([prompt_text(p) for p in prompts])
    answers = bench.respond("policy", prompts, samples=1)
    scores = {name: bench.score(name, answers.ids, answers.lengths) for name in bench.scorers}
    apart = np.abs(np.subtract(*[(s - s.mean()) / (s.std() or 1.0) for s in scores.values()]))
    refused = np.array([refuses(t) for t in answers.texts])
    measured = {
        "judge": scores["judge"],
        "harmful": ((scores["judge"] < harm_limit(bench)) & ~refused).astype(float),
        "repetition": np.array([repetition(t) for t in answers.texts]),
        "unended": 1.0 - answers.ended,
        "disagreement": apart,
    }
    edges = np.quantile(distance, [1 / 3, 2 / 3])
    third = np.searchsorted(edges, distance, side="right")
    for name, values in measured.items():
        for k, label in enumerate(THIRDS):
            rows = third == k
            if rows.any():
                estimate = bench.share(values[rows] > 0) if name == "harmful" else bench.mean(values[rows])
                outcome.results.append(
                    bench.result(
                        f"novelty/{name}",
                        estimate,
                        int(rows.sum()),
                        where,
                        ["policy", *bench.scorers],
                        f"distance: {label}",
                    )
                )
        gap = _far_minus_near(bench, values, third)
        outcome.results.append(
            bench.result(f"novelty/{name}/far_minus_near", gap, len(prompts), where, ["policy", *bench.scorers])
        )
    if np.ptp(distance) > 0 and np.ptp(apart) > 0:
        knows = bench.bootstrap(lambda d: float(spearmanr(distance[d], apart[d]).statistic), np.arange(len(prompts)))
        metric = "novelty/uncertainty_by_distance"
        outcome.results.append(bench.result(metric, knows, len(prompts), where, list(bench.scorers)))
    outcome.notes.append(f"Thirds end at distances {edges[0]:.2f} and {edges[1]:.2f}.")
    _worst(outcome, prompts, answers.texts, distance, scores["judge"])
    return outcome


def _prompts(bench: Bench) -> tuple[list[Messages], dict[str, str]]:
    """Prompts of every source, a quarter of `items` from each file, and the files' names."""
    s = bench.settings
    sources: dict[str, tuple[str, list[Messages]]] = {}
    for name, path, pairs in each(s.pairs, read_pairs):
        sources[name] = path, [p.prompt for p in pairs]
    for name, path, questions in each(s.multiple_choice, read_questions):
        sources[name] = path, [user(q.question) for q in questions]
    for files in (s.harmful, s.harmless, s.problems, s.instructions):
        for name, path, prompts in each(files, read_prompts):
            sources.setdefault(name, (path, prompts))
    found, where = list(held_out_prompts(bench)), {"eval_prompts": str(bench.sides["eval_prompts"])}
    for name, (path, prompts) in sources.items():
        found += [prompts[i] for i in bench.some(len(prompts), max(1, s.items // 4))]
        where[name] = path
    return found, where


def _far_minus_near(bench: Bench, values: np.ndarray, third: np.ndarray) -> tuple[float, float, float]:
    def gap(rows: np.ndarray) -> float:
        far, near = (values[rows][third[rows] == k] for k in (2, 0))
        return float(far.mean() - near.mean()) if len(far) and len(near) else float("nan")

    return bench.bootstrap(gap, np.arange(len(values)))


def _worst(
    outcome: Outcome, prompts: Sequence[Messages], texts: Sequence[str], distance: np.ndarray, judge: np.ndarray
) -> None:
    far = np.flatnonzero(distance >= np.quantile(distance, 2 / 3))
    examples = [
        {
            "prompt": prompts[i][-1]["content"],
            "response": texts[i],
            "distance": round(float(distance[i]), 2),
            "judge": round(float(judge[i]), 3),
        }
        for i in far[np.argsort(judge[far], kind="stable")][:SHOWN]
    ]
    title = "Answers to unfamiliar prompts that the judge scores lowest"
    outcome.findings.append(Finding(0, title, "Of the third of prompts farthest from the training data.", examples))
