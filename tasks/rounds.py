"""A round of labels: answers of the policy are sampled, pairs of them are chosen, and what is said of them is measured.

A quarter of a round's pairs is drawn at random, whatever the rule: on these the reward model's accuracy on the policy's
own answers is measured, before it is trained on them. On pairs that were chosen because it is unsure it would look worse
than it is.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from governance.digest import canonical_json, sha256_bytes
from governance.errors import BadInput
from tasks import paths, pseudonyms
from tasks.params import Params
from tasks.stats.intervals import wilson

if TYPE_CHECKING:
    import torch

POOL = 4  # prompts that are answered for each pair that is asked for
AT_RANDOM = 4  # one in so many pairs
PROMPTS = paths.PROCESSED / "reward_train.parquet"  # pairs of its prompts stand on its side of the split
SIMULATED = "simulated labels"


@dataclass(frozen=True)
class Pair:
    """Two answers to a prompt, with the reward model's `scores` of them, and how the pair was chosen."""

    prompt: list[dict[str, str]]
    responses: list[str]
    scores: list[float]
    at_random: bool

    @property
    def key(self) -> str:
        """Digest of prompt and answers, by which a label finds its pair again."""
        return key_of(self.prompt, self.responses)


def key_of(prompt: Sequence[dict[str, str]], responses: Sequence[str]) -> str:
    """Digest of a prompt, as messages, and the answers to it in their order."""
    return sha256_bytes(canonical_json([[{k: m[k] for k in ("role", "content")} for m in prompt], list(responses)]))


def choose(settings: Params, number: int) -> list[Pair]:
    """Pairs of the policy's answers for round `number`, from 1. The same run of the same models gives the same pairs.

    Raises BadInput if the policy has no two different answers to any prompt.
    """
    from tasks.evals.generation import respond
    from tasks.rlhf.encoding import encode_prompts
    from tasks.rlhf.models import load_tokenizer

    wanted, drawn = settings.rounds, random.Random(f"{settings.seed} round {number}")
    every = pl.read_parquet(PROMPTS, columns=["prompt"])["prompt"].unique(maintain_order=True).to_list()
    prompts = drawn.sample(every, min(len(every), POOL * wanted.pairs))
    rows = encode_prompts(load_tokenizer(paths.POLICY), prompts, settings.ppo.max_prompt_tokens)
    answers = respond(
        paths.POLICY,
        rows,
        samples=wanted.candidates,
        max_new_tokens=settings.evaluate.max_new_tokens,
        temperature=settings.evaluate.temperature,
        seed=settings.seed + number,
    )
    members, combined = _scores(paths.REWARD, answers.ids, answers.lengths)
    pool = []
    for k, prompt in enumerate(prompts):
        at = slice(k * wanted.candidates, (k + 1) * wanted.candidates)
        if len(set(answers.texts[at])) > 1:
            pool.append((prompt, answers.texts[at], members[:, at], combined[at]))
    if not pool:
        raise BadInput("rounds: the policy gives one answer to each prompt; raise evaluate.temperature or candidates.")
    return _chosen(pool, wanted.pairs, wanted.choose, drawn)


def _scores(folder: Path, rows: list[list[int]], lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(scores of each member (M, N), scores (N,) by the ensemble's rule)."""
    from tasks.rlhf.ensembles import load_ensemble, member_scores

    ensemble = load_ensemble(folder)
    members = member_scores(ensemble, rows, lengths=lengths)
    return members, ensemble.combine(members)


def _chosen(
    pool: list[tuple[list[dict[str, str]], list[str], torch.Tensor, torch.Tensor]],
    most: int,
    rule: str,
    drawn: random.Random,
) -> list[Pair]:
    """A pair a prompt: some at random, the others those of most value by the rule."""
    import torch

    from tasks.rlhf.acquisition import RULES, best_pair

    free = len(pool) if rule == "random" else min(len(pool), max(1, most // AT_RANDOM))
    pairs = []
    for prompt, texts, _, combined in pool[: min(free, most)]:
        a, b = drawn.choice([p for p in combinations(range(len(texts)), 2) if texts[p[0]] != texts[p[1]]])
        pairs.append(Pair(prompt, [texts[a], texts[b]], [float(combined[a]), float(combined[b])], at_random=True))
    valued = []
    for prompt, texts, members, combined in pool[free:]:
        differ = torch.tensor([[x != y for y in texts] for x in texts])
        a, b, value = best_pair(RULES[rule](members.double()), differ)
        scores = [float(combined[a]), float(combined[b])]
        valued.append((value, Pair(prompt, [texts[a], texts[b]], scores, at_random=False)))
    valued.sort(key=lambda v: -v[0])
    return pairs + [pair for _, pair in valued[: max(0, most - len(pairs))]]


def questions(pairs: Sequence[Pair], number: int) -> list[dict[str, Any]]:
    """What people are asked: rows that become labels when each has a `ranking` (indices of the responses, best first)."""
    return [
        {"id": f"round-{number}-{k}", "prompt": p.prompt, "responses": p.responses, "source": f"round {number}"}
        for k, p in enumerate(pairs)
    ]


def panel(settings: Params) -> dict[str, float]:
    """Accuracy of each rater of the SIMULATED panel, by an id that says so; the same rater in every round."""
    return {f"{pseudonyms.SIMULATED}rater-{k}": share for k, share in enumerate(settings.rounds.panel, start=1)}


def simulated_labels(pairs: Sequence[Pair], settings: Params, number: int) -> list[dict[str, Any]]:
    """Rankings by the SIMULATED panel, a row for each of its raters and each pair: what the judge prefers, as `panel_labels`
    has it, with probability σ(j(a) − j(b)) for a, of the judge's scores j."""
    import torch

    from tasks.rlhf.encoding import encode_pairs, stop_token_id
    from tasks.rlhf.models import load_tokenizer

    tokenizer = load_tokenizer(paths.JUDGE)
    encoded = encode_pairs(
        tokenizer,
        [p.prompt for p in pairs for _ in p.responses],
        [[{"role": "assistant", "content": r}] for p in pairs for r in p.responses],
        stop_token_id(tokenizer),
        settings.reward.max_length,
    )
    lengths = torch.tensor([len(answer) for _, answer in encoded], dtype=torch.float64)
    _, scores = _scores(paths.JUDGE, [prompt + answer for prompt, answer in encoded], lengths)
    first = torch.sigmoid((scores[0::2] - scores[1::2]).double()).tolist()
    return panel_labels(questions(pairs, number), first, settings, number)


def panel_labels(
    rows: Sequence[dict[str, Any]], first: Sequence[float], settings: Params, number: int
) -> list[dict[str, Any]]:
    """What each rater of the panel says of `rows`, of which the first answer is preferred with the probabilities `first`.

    A pair's preference is drawn once; a rater says it with the probability of his accuracy a, and the other with 1 − a, whatever
    the pair and whatever the others say: the one-coin model of Dawid and Skene (1979), as the turned labels of AlpacaFarm (Dubois
    et al. 2023). What one rater says does not depend on who else is on the panel.
    """
    drawn = random.Random(f"{settings.seed} labels of round {number}")
    preferred = [[0, 1] if drawn.random() < p else [1, 0] for p in first]
    said = []
    for name, share in panel(settings).items():
        own = random.Random(f"{settings.seed} {name} in round {number}")
        for row, ranking in zip(rows, preferred, strict=True):
            ranked = ranking if own.random() < share else ranking[::-1]
            said.append(row | {"ranking": ranked, "annotator_id": name, "source": f"{row['source']}, {SIMULATED}"})
    return said


def principle_labels(
    pairs: Sequence[Pair], settings: Params, number: int
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """(rankings by a principle that is drawn for each pair, what the run's record says of the list). As the label is a hard one, a
    pair has one only if the same answer is preferred in both orders; none is of a pair that is longer than
    `principles.max_tokens` with what is asked."""
    from tasks.choice_models import asked_model
    from tasks.principle_feedback import Case, longest, preferences
    from tasks.principles import drawn, note, read_principles
    from tasks.rlhf.models import load_tokenizer

    of, trust = settings.principles, settings.base.trust_remote_code
    listed, tokenizer = read_principles(of), load_tokenizer(paths.SFT, trust_remote_code=trust)
    cases, rows = [], []
    for pair, row in zip(pairs, questions(pairs, number), strict=True):
        principle = drawn(listed.principles, row["id"], settings.seed)
        case = Case(pair.prompt, pair.responses[0], pair.responses[1], principle.text)
        if longest(tokenizer, case, [principle.text]) <= of.max_tokens:
            cases.append(case)
            rows.append((row, principle.id))
    asked = asked_model(of.endpoint, "principles.endpoint", of.max_tokens, trust_remote_code=trust)
    found = preferences(asked, cases)
    labels, used = [], []
    for (row, name), odds, agree in zip(rows, found.log_odds.tolist(), found.orders_agree.tolist(), strict=True):
        if agree:  # so that it is a number, and not 0
            labels.append(
                row | {"ranking": [0, 1] if odds > 0 else [1, 0], "source": f"{row['source']}, principle {name}"}
            )
            used.append(name)
    by = of.endpoint.model if of.endpoint else paths.SFT.as_posix()
    return labels, note(of, listed, pl.Series(used, dtype=pl.String)) | {"preferred_by": by}


def read_labels(file: Path) -> list[dict[str, Any]]:
    """Rows of a round's file. Raises BadInput if it is not JSON lines with prompt, responses and ranking."""
    rows = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            key_of(row["prompt"], row["responses"])
            row["ranking"][0]
        except (ValueError, KeyError, TypeError, IndexError):
            raise BadInput(
                f"{file}, line {number}: needs prompt, responses and ranking (best first), as the round asked for."
            ) from None
        rows.append(row)
    return rows


def accuracy(pairs: Sequence[Pair], labels: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """How often the reward model that wrote the pairs' scores agrees with what most raters said of them: {at_random, chosen},
    each {value, low, high, n} with a 95 % Wilson interval over n pairs, or None without labels. Half right where two scores are
    equal, or as many raters say the one as the other."""
    asked = {p.key: p for p in pairs}
    lead = Counter[str]()  # raters who prefer the first answer, less those who prefer the second
    for row in labels:
        key = key_of(row["prompt"], row["responses"])
        if key in asked and len(row["ranking"]) == 2:
            lead[key] += 1 if row["ranking"][0] == 0 else -1
    right: dict[bool, list[float]] = {True: [], False: []}
    for key, most in lead.items():
        a, b = asked[key].scores
        right[asked[key].at_random].append(0.5 if a == b or most == 0 else float((a > b) == (most > 0)))
    return {name: _rate(right[drawn]) for name, drawn in (("at_random", True), ("chosen", False))}


def _rate(right: list[float]) -> dict[str, Any] | None:
    if not right:
        return None
    low, high = wilson(sum(right), len(right))
    return {"value": sum(right) / len(right), "low": low, "high": high, "n": len(right)}
