"""Whether the reward models rank pairs as people do: by source, topic, length gap and turns, and how well calibrated.

Accuracy counts a tie of scores as half. σ(margin) is the probability that a Bradley–Terry model states; its expected
calibration error and Brier score are measured on the held-out pairs.
"""

import numpy as np
from scipy.special import expit

from tasks.evals.bench import Bench
from tasks.evals.files import Pair, each, read_pairs
from tasks.evals.held_out import LEAST, held_out_pairs, topics
from tasks.evals.result import Finding, ForReview, Outcome
from tasks.stats.calibration_error import brier_score, expected_calibration_error

SHOWN = 5
GOLDEN = 10


def run(bench: Bench) -> Outcome:
    """Held-out pairs, then every file of `suite.pairs`."""
    outcome = Outcome()
    own = held_out_pairs(bench)
    _measure(bench, outcome, "held_out", str(bench.sides["reward_test"]), own)
    outcome.review += _golden(bench, own)
    for name, path, pairs in each(bench.settings.pairs, read_pairs):
        decided = [p for p in pairs if p.label]
        if len(decided) < len(pairs):
            outcome.notes.append(f"{name}: {len(pairs) - len(decided)} of {len(pairs)} pairs are ties of the votes.")
        kept = [decided[i] for i in bench.some(len(decided), 3 * bench.settings.items)]
        _measure(bench, outcome, name, path, kept)
    return outcome


def margins(bench: Bench, scorer: str, pairs: list[Pair]) -> np.ndarray:
    """(n,) score of the preferred answer less that of the other."""
    prompts = [p.prompt for p in pairs]
    both = bench.score_texts(scorer, prompts * 2, [p.first for p in pairs] + [p.second for p in pairs])
    first, second = both.reshape(2, -1)
    return (first - second) * np.array([1.0 if p.label == 1 else -1.0 for p in pairs])


def _measure(bench: Bench, outcome: Outcome, name: str, path: str, pairs: list[Pair]) -> None:
    slices = _slices(pairs, bench.seed)
    for scorer in bench.scorers:
        gap = margins(bench, scorer, pairs)
        right = np.where(gap > 0, 1.0, np.where(gap == 0, 0.5, 0.0))
        where = ({name: path}, [scorer])
        outcome.results.append(
            bench.result(f"reward_accuracy/{name}/{scorer}", _accuracy(bench, right), len(right), *where)
        )
        for part, rows in slices.items():
            estimate = _accuracy(bench, right[rows])
            outcome.results.append(
                bench.result(f"reward_accuracy/{name}/{scorer}", estimate, len(rows), *where, slice=part)
            )
        _calibration(bench, outcome, f"{name}/{scorer}", gap, where)
        if name == "held_out" and scorer == "reward":
            outcome.findings.append(_worst(gap, pairs, slices, right))


def _accuracy(bench: Bench, right: np.ndarray) -> tuple[float, float, float]:
    return bench.share(right > 0.5) if set(np.unique(right)) <= {0.0, 1.0} else bench.mean(right)


def _calibration(
    bench: Bench, outcome: Outcome, name: str, gap: np.ndarray, where: tuple[dict[str, str], list[str]]
) -> None:
    """σ(margin) of a pair shown in random order, so that it states both events equally often."""
    rng = np.random.default_rng(bench.seed)
    turned = rng.random(len(gap)) < 0.5
    stated, came = expit(np.where(turned, -gap, gap)), np.where(turned, 0.0, 1.0)
    for metric, function in (("ece", expected_calibration_error), ("brier", brier_score)):
        drawn = [rng.integers(len(gap), size=len(gap)) for _ in range(min(500, bench.settings.resamples))]
        tail = (1 - bench.settings.level) / 2
        low, high = np.quantile([function(stated[d], came[d]) for d in drawn], [tail, 1 - tail])
        value = function(stated, came)
        # resampling adds to the bias of the error itself, so that its value may lie below the percentiles
        estimate = (value, min(float(low), value), max(float(high), value))
        outcome.results.append(bench.result(f"reward_{metric}/{name}", estimate, len(gap), *where))


def _slices(pairs: list[Pair], seed: int) -> dict[str, np.ndarray]:
    """Rows of each slice with at least LEAST pairs."""
    gap = np.array([(len(p.first) - len(p.second)) * (1 if p.label == 1 else -1) for p in pairs])
    low, high = np.quantile(gap, [1 / 3, 2 / 3])
    length = np.where(gap < low, "chosen is shorter", np.where(gap > high, "chosen is longer", "similar length"))
    kinds = {
        "source": [p.source for p in pairs],
        "topic": topics([p.prompt for p in pairs], seed),
        "length": list(length),
        "turns": ["one turn" if len(p.prompt) == 1 else "several turns" for p in pairs],
    }
    found: dict[str, np.ndarray] = {}
    for kind, labels in kinds.items():
        names = sorted(set(labels))
        if len(names) > 1:
            found |= {f"{kind}: {n}": np.flatnonzero(np.array(labels) == n) for n in names}
    return {name: rows for name, rows in found.items() if len(rows) >= LEAST}


def _golden(bench: Bench, pairs: list[Pair]) -> list[ForReview]:
    """Pairs on which people and every scorer agree most firmly: what a reviewer who reads can be expected to see."""
    gaps = np.stack([margins(bench, s, pairs) for s in bench.scorers])
    firm = (gaps / np.maximum(gaps.std(1, keepdims=True), 1e-12)).min(0)
    return [
        ForReview([dict(m) for m in pairs[i].prompt], [pairs[i].first, pairs[i].second], "", 0.0, gold=0)
        for i in np.argsort(-firm, kind="stable")[:GOLDEN]
        if firm[i] > 0
    ]


def _worst(gap: np.ndarray, pairs: list[Pair], slices: dict[str, np.ndarray], right: np.ndarray) -> Finding:
    weakest = min(slices, key=lambda s: right[slices[s]].mean()) if slices else None
    means = f"Weakest slice: {weakest}, {right[slices[weakest]].mean():.2f} right." if weakest else ""
    examples = [
        {
            "prompt": pairs[i].prompt[-1]["content"],
            "preferred by people": pairs[i].first,
            "preferred by the reward model": pairs[i].second,
            "margin": round(float(gap[i]), 3),
        }
        for i in np.argsort(gap, kind="stable")[:SHOWN]
        if gap[i] < 0
    ]
    return Finding(0, "Pairs that the reward model ranks most firmly against people", means, examples)
