"""Preference: wins, ties and losses between policy, SFT, base and the registry's other policies, by each judge, and how far
that judge can be trusted.

The judge is the reward model trained on disjoint pairs, the endpoint of `suite.judge` if there is one, and people, on the
pairs of policy and SFT that they compared on the review page. An endpoint sees every pair in both orders, and the outcome
is the mean of both: position bias, the share of verdicts for the answer shown first less a half, is reported and cancels.
A person sees a drawn order, so that it cancels in the mean, and it is reported, too; a reward model scores each answer
alone and cannot have it. Beside the win rates stands the judge's agreement with people on the pairs of files whose votes
are known and on those that were reviewed, and that of one person with another.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from pathlib import Path

import numpy as np

from governance.digest import write_jsonl
from tasks.evals.bench import Answers, Bench
from tasks.evals.endpoint_judge import EndpointJudge
from tasks.evals.files import Pair, each, read_pairs
from tasks.evals.held_out import held_out_prompts
from tasks.evals.result import Finding, ForReview, Outcome
from tasks.evals.win_rate import length_controlled_of
from tasks.review_store import Compared
from tasks.rlhf.encoding import Messages

MATCHES = (("policy", "sft"), ("policy", "base"), ("sft", "base"))
SHOWN = 4
REVIEWED = 20
PEOPLE = "judge: people"
Judgement = tuple[np.ndarray, np.ndarray | None]  # (n,) outcomes for the first; (n, 2) verdicts in both orders


@dataclass(frozen=True)
class Side:
    """Answers of one side: (n,) texts, and the responses that they are where they were sampled here."""

    texts: list[str]
    sampled: Answers | None = None


@dataclass(frozen=True)
class Match:
    """What one judge says of two models: (n,) outcomes for the first; (n,) tokens that its answers are longer; (n,) prompt
    of each; `bias`: (n,) verdicts for the answer shown first, less a half, None where that cannot matter."""

    models: list[str]
    part: str | None
    won: np.ndarray
    longer: np.ndarray
    prompts: np.ndarray
    bias: np.ndarray | None = None


def run(bench: Bench) -> Outcome:
    """Every match by every judge; then agreement with people."""
    outcome = Outcome()
    prompts = held_out_prompts(bench)
    where: dict[str, Path | str] = {"eval_prompts": bench.sides["eval_prompts"]}
    endpoint = EndpointJudge(bench.settings.judge) if bench.settings.judge else None
    judges = _judges(bench, endpoint)
    answers = {m: bench.respond(m, prompts) for m in bench.policies}
    met = [(one, other, answers[one], answers[other]) for one, other in MATCHES]
    for one, other, a, b in chain(met, _earlier(bench, prompts)):
        repeated = [prompts[p] for p in a.prompts]
        for judge, compare in judges.items():
            won, orders = compare(repeated, Side(a.texts, a), Side(b.texts, b))
            scorers, part = (["judge"], None) if judge == "judge" else ([], f"judge: {judge}")
            bias = None if orders is None else orders.mean(1) - 0.5
            _tell(
                bench, outcome, where, Match([one, other, *scorers], part, won, a.lengths - b.lengths, a.prompts, bias)
            )
            if orders is not None:
                metric, same = f"preference/consistent/{one}_vs_{other}", orders[:, 0] == 1 - orders[:, 1]
                estimate = bench.mean(same, a.prompts)
                outcome.results.append(bench.result(metric, estimate, len(prompts), where, [one, other], part))
        if (one, other) == MATCHES[0]:
            _lost(bench, outcome, repeated, a, b)
    _people(bench, outcome, where, prompts, *(answers[m] for m in MATCHES[0]))
    for judge, compare in judges.items():
        _agreement(bench, outcome, judge, compare)
    if endpoint and endpoint.unread:
        outcome.notes.append(
            f"{endpoint.settings.model}: {endpoint.unread} answers name no letter; each counts as a tie."
        )
    return outcome


def _earlier(bench: Bench, prompts: Sequence[Messages]) -> Iterator[tuple[str, str, Answers, Answers]]:
    """The policy and each of the registry's, with an answer to each prompt: of them there may be many. Each is let go of
    after its match."""
    if bench.rated:
        own = bench.respond("policy", prompts, samples=1)
        for name in bench.rated:
            yield "policy", name, own, bench.respond(name, prompts, samples=1)
            bench.unload(name)


def _tell(bench: Bench, outcome: Outcome, where: Mapping[str, Path | str], match: Match) -> None:
    """Figures of one match."""
    name = f"{match.models[0]}_vs_{match.models[1]}".replace(" ", "_")
    figures = {
        "win_rate": bench.mean(match.won, match.prompts),
        "wins": bench.mean(match.won == 1, match.prompts),
        "ties": bench.mean((match.won > 0) & (match.won < 1), match.prompts),
        "losses": bench.mean(match.won == 0, match.prompts),
        "length_controlled": bench.bootstrap(_controlled(match.won, match.longer), match.prompts, 200),
    }
    if match.bias is not None:
        figures["position_bias"] = bench.mean(match.bias, match.prompts)
    n = len(np.unique(match.prompts))
    for figure, estimate in figures.items():
        metric = f"preference/{figure}/{name}"
        outcome.results.append(bench.result(metric, estimate, n, where, match.models, match.part))


def _people(
    bench: Bench,
    outcome: Outcome,
    where: Mapping[str, Path | str],
    prompts: Sequence[Messages],
    a: Answers,
    b: Answers,
) -> None:
    """Policy against SFT by the people who compared their answers `a` and `b` on the review page; nothing where nobody did."""
    places = {_key(prompts[p], a.texts[i], b.texts[i]): i for i, p in enumerate(a.prompts)}
    said = [(places[key], c) for c in bench.people if (key := _key(c.prompt, *c.responses)) in places]
    if not said:
        if bench.people:
            outcome.notes.append("What people compared on the review page is of other responses than these.")
        return
    rows = np.array([i for i, _ in said])
    won = np.array([0.5 if c.better is None else float(c.better == 0) for _, c in said])
    shown_first = np.array([won_it if c.first == 0 else 1 - won_it for won_it, (_, c) in zip(won, said, strict=True)])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "compared.jsonl"
        write_jsonl(file, [{"response": i, "better": c.better, "first": c.first} for i, c in said])
        match = Match([*MATCHES[0]], PEOPLE, won, (a.lengths - b.lengths)[rows], a.prompts[rows], shown_first - 0.5)
        _tell(bench, outcome, {**where, "review": file}, match)


def _key(prompt: Sequence[Mapping[str, str]], first: str, second: str) -> tuple[str, str, str]:
    return "\n".join(f"{m['role']}: {m['content']}" for m in prompt), first, second


def _judges(
    bench: Bench, endpoint: EndpointJudge | None
) -> dict[str, Callable[[Sequence[Messages], Side, Side], Judgement]]:
    def scored(prompts: Sequence[Messages], first: Side, second: Side) -> Judgement:
        a, b = (
            bench.score("judge", s.sampled.ids, s.sampled.lengths)
            if s.sampled
            else bench.score_texts("judge", prompts, s.texts)
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
    with tempfile.TemporaryDirectory() as folder:
        for name, path, pairs in [*each(bench.settings.pairs, read_pairs), *_reviewed(bench, Path(folder))]:
            voted = [p for p in pairs if p.votes]
            some = [voted[i] for i in bench.some(len(voted), 3 * bench.settings.items)]
            if not some:
                continue
            won, _ = compare([p.prompt for p in some], Side([p.first for p in some]), Side([p.second for p in some]))
            with_people = np.array([_with_votes(w, p) for w, p in zip(won, some, strict=True)])
            among = np.array([np.mean([a == b for a, b in combinations(p.votes, 2)]) for p in some if len(p.votes) > 1])
            for metric, values in (("judge_with_people", with_people), ("people_with_people", among)):
                if len(values):
                    full = f"preference/agreement/{metric}/{name}"
                    record = bench.result(full, bench.mean(values), len(values), {name: path}, models, part)
                    outcome.results.append(record)


def _reviewed(bench: Bench, folder: Path) -> Iterator[tuple[str, str, list[Pair]]]:
    """Pairs of responses that people compared on the review page, as those of a file that is written for its digest."""
    votes: dict[tuple[str, str, str], list[int]] = {}
    found: dict[tuple[str, str, str], Compared] = {}
    for c in bench.people:
        key = _key(c.prompt, *c.responses)
        found[key] = c
        votes.setdefault(key, []).append(0 if c.better is None else c.better + 1)
    if found:
        file = folder / "reviewed.jsonl"
        write_jsonl(file, [{"prompt": c.prompt, "responses": c.responses, "votes": votes[k]} for k, c in found.items()])
        pairs = [Pair(c.prompt, *c.responses, 0, tuple(votes[key]), "review") for key, c in found.items()]
        yield "review", str(file), pairs


def _with_votes(won: float, pair: Pair) -> float:
    """Share of the votes that say what the judge says; a judge's tie is 0."""
    verdict = 1 if won > 0.5 else 2 if won < 0.5 else 0
    return float(np.mean([v == verdict for v in pair.votes]))


def _lost(bench: Bench, outcome: Outcome, prompts: Sequence[Messages], policy: Answers, sft: Answers) -> None:
    gap = bench.score("judge", policy.ids, policy.lengths) - bench.score("judge", sft.ids, sft.lengths)
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
