"""Preference: wins, ties and losses between policy, SFT and base, by each judge, and how far that judge can be trusted.

The judge is the reward model trained on disjoint pairs, and the endpoint of `suite.judge` if there is one. An endpoint
sees every pair in both orders, and the outcome is the mean of both: position bias, the share of verdicts for the answer
shown first less a half, is reported and cancels. A reward model scores each answer alone and cannot have it. Beside the
win rates stands the judge's agreement with people on the pairs of files whose votes are known, and that of one person
with another.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from tasks.evals.bench import Answers, Bench
from tasks.evals.endpoint_judge import EndpointJudge
from tasks.evals.files import Pair, each, read_pairs
from tasks.evals.held_out import held_out_prompts
from tasks.evals.result import Finding, ForReview, Outcome
from tasks.evals.win_rate import length_controlled_of
from tasks.rlhf.encoding import Messages

MATCHES = (("policy", "sft"), ("policy", "base"), ("sft", "base"))
SHOWN = 4
REVIEWED = 20
Judgement = tuple[np.ndarray, np.ndarray | None]  # (n,) outcomes for the first; (n, 2) verdicts in both orders


@dataclass(frozen=True)
class Side:
    """Answers of one side: (n,) texts, and conversations as token ids where they were sampled here."""

    texts: list[str]
    ids: list[list[int]] | None = None


def run(bench: Bench) -> Outcome:
    """Every match by every judge; then agreement with people."""
    outcome = Outcome()
    prompts = held_out_prompts(bench)
    answers = {m: bench.respond(m, prompts) for m in bench.policies}
    repeated = [p for p in prompts for _ in range(bench.settings.samples)]
    clusters, where = answers["sft"].prompts, {"eval_prompts": bench.sides["eval_prompts"]}
    endpoint = EndpointJudge(bench.settings.judge) if bench.settings.judge else None
    for judge, compare in _judges(bench, endpoint).items():
        for one, other in MATCHES:
            a, b = answers[one], answers[other]
            won, orders = compare(repeated, Side(a.texts, a.ids), Side(b.texts, b.ids))
            scorers = ["judge"] if judge == "judge" else []
            models, name = [one, other, *scorers], f"{one}_vs_{other}"
            part = None if judge == "judge" else f"judge: {judge}"

            def add(
                metric: str, estimate: tuple[float, float, float], m: list[str] = models, p: str | None = part
            ) -> None:
                outcome.results.append(bench.result(f"preference/{metric}", estimate, len(prompts), where, m, p))

            add(f"win_rate/{name}", bench.mean(won, clusters))
            add(f"wins/{name}", bench.mean(won == 1, clusters))
            add(f"ties/{name}", bench.mean((won > 0) & (won < 1), clusters))
            gap = a.lengths - b.lengths
            add(f"length_controlled/{name}", bench.bootstrap(_controlled(won, gap), clusters, 200))
            if orders is not None:
                add(f"position_bias/{name}", bench.mean(orders.mean(1) - 0.5, clusters))
                add(f"consistent/{name}", bench.mean(orders[:, 0] == 1 - orders[:, 1], clusters))
            if judge == "judge" and (one, other) == MATCHES[0]:
                _lost(bench, outcome, repeated, a, b)
        _agreement(bench, outcome, judge, compare)
    if endpoint and endpoint.unread:
        outcome.notes.append(
            f"{endpoint.settings.model}: {endpoint.unread} answers name no letter; each counts as a tie."
        )
    return outcome


def _judges(
    bench: Bench, endpoint: EndpointJudge | None
) -> dict[str, Callable[[Sequence[Messages], Side, Side], Judgement]]:
    def scored(prompts: Sequence[Messages], first: Side, second: Side) -> Judgement:
        a, b = (
            bench.score("judge", s.ids) if s.ids is not None else bench.score_texts("judge", prompts, s.texts)
            for s in (first, second)
        )
        return np.where(a > b, 1.0, np.where(a == b, 0.5, 0.0)), None

    found: dict[str, Callable[[Sequence[Messages], Side, Side], Judgement]] = {"judge": scored}
    if endpoint:

        def asked(prompts: Sequence[Messages], first: Side, second: Side) -> Judgement:
            rows = list(zip(prompts, first.texts, second.texts, strict=True))
            said = endpoint.prefer([*rows, *((p, b, a) for p, a, b in rows)])
            # an answer that cannot be read says nothing for either side
            orders = np.array([0.5 if s is None else s for s in said]).reshape(2, -1).T
            return (orders[:, 0] + 1 - orders[:, 1]) / 2, orders

        found[endpoint.settings.model] = asked
    return found


def _controlled(won: np.ndarray, gap: np.ndarray) -> Callable[[np.ndarray], float]:
    feature = np.tanh(gap / (gap.std() or 1.0))
    return lambda rows: length_controlled_of(won[rows], feature[rows])


def _agreement(
    bench: Bench,
    outcome: Outcome,
    judge: str,
    compare: Callable[[Sequence[Messages], Side, Side], Judgement],
) -> None:
    part = None if judge == "judge" else f"judge: {judge}"
    models = ["judge"] if judge == "judge" else []
    for name, path, pairs in each(bench.settings.pairs, read_pairs):
        voted = [p for p in pairs if p.votes]
        some = [voted[i] for i in bench.some(len(voted), 3 * bench.settings.items)]
        if not some:
            continue
        won, _ = compare([p.prompt for p in some], Side([p.first for p in some]), Side([p.second for p in some]))
        with_people = np.array([_with_votes(w, p) for w, p in zip(won, some, strict=True)])
        among = np.array([np.mean([a == b for a, b in combinations(p.votes, 2)]) for p in some if len(p.votes) > 1])
        where = {name: path}
        for metric, values in (("judge_with_people", with_people), ("people_with_people", among)):
            if len(values):
                estimate = bench.mean(values)
                full = f"preference/agreement/{metric}/{name}"
                outcome.results.append(bench.result(full, estimate, len(values), where, models, part))


def _with_votes(won: float, pair: Pair) -> float:
    """Share of the votes that say what the judge says; a judge's tie is 0."""
    verdict = 1 if won > 0.5 else 2 if won < 0.5 else 0
    return float(np.mean([v == verdict for v in pair.votes]))


def _lost(bench: Bench, outcome: Outcome, prompts: Sequence[Messages], policy: Answers, sft: Answers) -> None:
    gap = bench.score("judge", policy.ids) - bench.score("judge", sft.ids)
    order = np.argsort(gap, kind="stable")
    examples = [
        {
            "prompt": prompts[i][-1]["content"],
            "policy": policy.texts[i],
            "sft": sft.texts[i],
            "judge, policy − SFT": round(float(gap[i]), 3),
        }
        for i in order[:SHOWN]
    ]
    outcome.findings.append(Finding(0, "Where the policy loses most to SFT", "By the judge's scores.", examples))
    for i in order[np.linspace(0, len(order) - 1, REVIEWED).astype(int)]:  # of losses, wins and what lies between
        prompt = [dict(m) for m in prompts[i]]
        if policy.texts[i] != sft.texts[i]:
            why = "Policy and SFT answered the same prompt: which is better?"
            outcome.review.append(ForReview(prompt, [policy.texts[i], sft.texts[i]], why, 0.0))
