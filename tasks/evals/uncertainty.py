"""Whether the scorers know when they are wrong: uncertainty of a verdict against its disagreement with people.

The two scorers, trained on disjoint pairs, are an ensemble. Their margins on a pair are standardised; `disagreement` is
their distance, `entropy` the predictive entropy of σ(mean margin) in bits. AUROC: probability that a verdict that
people contradict is more uncertain than one that they confirm (0.5: uninformative). Risk–coverage: error among the
share of verdicts that is most certain; its area is compared with the error of all (El-Yaniv and Wiener 2010). Where
`reward.ensemble` has several members, `ensemble` is the standard deviation of their margins. `outputs` in the file of results
holds the policy's responses one by one, each with its scores, disagreement and entropy.
"""

from typing import Any

import numpy as np
from scipy.special import expit
from scipy.stats import rankdata

from tasks.evals.bench import Bench, encoded
from tasks.evals.files import Pair, each, read_pairs
from tasks.evals.held_out import held_out_pairs, held_out_prompts
from tasks.evals.result import Curve, Finding, ForReview, Outcome
from tasks.evals.reward_accuracy import margins

SHOWN = 6
REVIEWED = 20


def run(bench: Bench) -> Outcome:
    """Held-out pairs and every file of `suite.pairs`; then the policy's most uncertain responses."""
    outcome = Outcome()
    own = [("held_out", str(bench.sides["reward_test"]), held_out_pairs(bench))]
    for name, path, pairs in [*own, *each(bench.settings.pairs, read_pairs)]:
        decided = [p for p in pairs if p.label]
        _measure(bench, outcome, name, path, [decided[i] for i in bench.some(len(decided), 3 * bench.settings.items)])
    _uncertain(bench, outcome)
    return outcome


def _measure(bench: Bench, outcome: Outcome, name: str, path: str, pairs: list[Pair]) -> None:
    both = np.stack([margins(bench, s, pairs) for s in bench.scorers])
    both /= np.sqrt((both**2).mean(1, keepdims=True))
    mean = both.mean(0)
    wrong = (mean < 0).astype(float)
    measures = {"disagreement": np.abs(both[0] - both[1]), "entropy": _entropy(expit(np.abs(mean)))}
    if len(bench.scorer("reward")[1].members) > 1:
        measures["ensemble"] = _between_members(bench, pairs)
    rows, where, scorers = np.arange(len(pairs)), {name: path}, list(bench.scorers)
    lines: dict[str, list[tuple[float, float]]] = {}
    for measure, values in measures.items():
        informative = bench.bootstrap(lambda d, v=values: auroc(v[d], wrong[d]), rows)  # type: ignore[misc]
        metric = f"uncertainty/auroc/{measure}/{name}"
        outcome.results.append(bench.result(metric, informative, len(pairs), where, scorers))
        area = bench.bootstrap(lambda d, v=values: float(risk_coverage(v[d], wrong[d]).mean() - wrong[d].mean()), rows)  # type: ignore[misc]
        metric = f"uncertainty/risk_coverage_area_minus_error/{measure}/{name}"
        outcome.results.append(bench.result(metric, area, len(pairs), where, scorers))
        curve = risk_coverage(values, wrong)
        picked = np.unique(np.linspace(len(curve) // 10, len(curve) - 1, 19).astype(int))
        lines[measure] = [((i + 1) / len(curve), float(curve[i])) for i in picked]
        if informative[1] <= 0.5:
            outcome.notes.append(f"{name}: {measure} is not shown to be informative (AUROC's interval reaches 0.5).")
    outcome.curves.append(Curve(f"Risk–coverage, {name}", "share of verdicts kept, most certain first", "error", lines))


def _between_members(bench: Bench, pairs: list[Pair]) -> np.ndarray:
    """(n,) standard deviation of the margins of the reward model's members."""
    texts = [p.first for p in pairs] + [p.second for p in pairs]
    both = encoded(bench.scorer("reward")[0], [p.prompt for p in pairs] * 2, texts, bench.max_length)
    scores = bench.member_scores("reward", *both)
    return np.asarray((scores[:, : len(pairs)] - scores[:, len(pairs) :]).std(0))


def _uncertain(bench: Bench, outcome: Outcome) -> None:
    """Every response with its uncertainty; those on which the scorers disagree most are for people to look at."""
    prompts = held_out_prompts(bench)
    answers = bench.respond("policy", prompts)
    raw = np.stack([bench.score(s, answers.ids, answers.lengths) for s in bench.scorers])
    members = bench.member_scores("reward", answers.ids, answers.lengths).std(0)
    scores = (raw - raw.mean(1, keepdims=True)) / np.maximum(raw.std(1, keepdims=True), 1e-12)
    apart = np.abs(scores[0] - scores[1])
    for i, text in enumerate(answers.texts):
        row: dict[str, Any] = {"prompt": [dict(m) for m in prompts[i // answers.samples]], "response": text}
        row |= dict(zip(bench.scorers, map(float, raw[:, i]), strict=True))
        row |= {"disagreement": float(apart[i]), "entropy": float(answers.entropy[i]), "members_sd": float(members[i])}
        outcome.outputs.append(row)
    examples = []
    for i in np.argsort(-apart, kind="stable")[:REVIEWED]:
        prompt = [dict(m) for m in prompts[i // answers.samples]]
        why = f"Reward model and judge are {apart[i]:.1f} σ apart."
        outcome.review.append(ForReview(prompt, [answers.texts[i]], why, float(apart[i])))
        examples.append(
            {
                "prompt": prompt[-1]["content"],
                "response": answers.texts[i],
                "disagreement in σ": round(float(apart[i]), 2),
                "entropy of its tokens in nats": round(float(answers.entropy[i]), 2),
            }
        )
    title = "Responses on which reward model and judge disagree most"
    outcome.findings.append(Finding(0, title, "A person should look at them.", examples[:SHOWN]))


def _entropy(p: np.ndarray) -> np.ndarray:
    """Entropy in bits of a coin that falls heads with probability p."""
    q = np.clip(p, 1e-12, 1 - 1e-12)
    return np.asarray(-(q * np.log2(q) + (1 - q) * np.log2(1 - q)))


def auroc(values: np.ndarray, positive: np.ndarray) -> float:
    """P(value of a positive > value of a negative), ties as halves; NaN without both kinds."""
    yes = int(positive.sum())
    no = len(positive) - yes
    if not yes or not no:
        return float("nan")
    return float((rankdata(values)[positive > 0].sum() - yes * (yes + 1) / 2) / (yes * no))


def risk_coverage(values: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """(n,) error among the k most certain, k = 1 … n."""
    ordered = wrong[np.argsort(values, kind="stable")]
    return np.asarray(np.cumsum(ordered) / np.arange(1, len(ordered) + 1))
