"""Over-optimization of a proxy reward, with a synthetic gold reward (Gao et al. 2022; ensembles: Coste et al. 2023).

usage: python benchmarks/overoptimization.py [--seeds 5] [--updates N] [--runs FILE] [--out docs/images/overoptimization]

SIMULATED. The policy is a small model of a made-up language (`simulated_language.py`). The gold reward is a taste, what a
fixed random network says of each token of the response after those before it, and the share of the response's tokens that
the language allows: broken text is worse, whatever the taste. Proxies of three sizes are trained by the Plackett–Luce loss
on rankings of the policy's responses that the gold reward makes, in which little is broken; PPO and best-of-n then optimise
each proxy, one of less data, and ensembles of the middle size, while the gold reward is only watched. Prints one JSON line; with
--out also tables (.md) and a picture (.png). With --runs every seed's curves are kept in FILE (JSON lines) as soon as it
ends, and seeds that are in it are not run again. d is the square root of the KL to the initial policy.
"""

import argparse
import contextlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from machine import described
from overoptimization_report import figures, write_picture, write_tables
from simulated_language import Language
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2ForSequenceClassification

from tasks.rlhf.best_of_n import best_of_n_kl, expected_best_of_n
from tasks.rlhf.ensembles import mean_minus_variance, worst_case
from tasks.rlhf.losses import plackett_luce
from tasks.rlhf.ppo import PpoTrainer, Scorer
from tasks.rlhf.ppo_settings import PlainPpo
from tasks.rlhf.rollout import Rollout, response_values, sample, score_head
from tasks.rlhf.scorers import ensemble, reward_scorer

VOCABULARY, PAD, EOS, LENGTH = 64, 0, 1, 12
SIZES = (8, 16, 48)  # hidden sizes of the proxies; the gold reward's is 64
RANKINGS, WAYS, EPOCHS, MEMBERS, LESS = 1024, 4, 12, 4, 4
UPDATES, BATCH, LEARNING_RATE = 90, 128, 2e-3
TASTE_SPREAD = 0.05  # of the network's initial weights: the more, the more a token's worth depends on those before it
GRAMMAR = 0.5  # of a standard deviation of the taste, for a standard deviation of the share of allowed tokens
SAMPLES = 128  # of best-of-n, from each of BASELINE prompts
BASELINE = 48


@dataclass
class Watch:
    """A scorer that shows the optimiser the proxy and keeps what the gold reward says."""

    proxy: Scorer
    gold: Scorer
    seen: list[torch.Tensor] = field(default_factory=list)

    def __call__(self, rollout: Rollout) -> torch.Tensor:
        self.seen.append(self.gold(rollout))
        return self.proxy(rollout)

    def mean(self) -> float:
        mean = float(torch.cat(self.seen).mean())
        self.seen.clear()
        return mean


def config(hidden: int, **more: Any) -> Qwen2Config:
    heads = max(1, hidden // 16)
    return Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        num_hidden_layers=2,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        intermediate_size=hidden * 2,
        max_position_embeddings=64,
        pad_token_id=PAD,
        eos_token_id=EOS,
        **more,
    )


def reward_model(hidden: int, spread: float) -> Any:
    return Qwen2ForSequenceClassification(config(hidden, num_labels=1, initializer_range=spread)).eval()


def responses(policy: Any, prompts: Sequence[Sequence[int]], seed: int) -> Rollout:
    return sample(
        policy,
        prompts,
        pad_token_id=PAD,
        stop_token_id=EOS,
        max_new_tokens=LENGTH,
        temperature=1.0,
        generator=torch.Generator().manual_seed(seed),
        group=4096,
    )


def taste_scorer(model: Any) -> Scorer:
    """Scorer (B,): the network's outputs at the response's tokens, averaged. Read at the last token alone, it would be little
    more than a table of last tokens."""
    head = score_head(model)
    return lambda r: (response_values(model, head, r)[:, 1:] * r.mask).sum(1) / r.mask.sum(1)


@torch.no_grad()
def standardised(scorer: Scorer, rollout: Rollout) -> Scorer:
    """The scorer with mean 0 and standard deviation 1 on the initial policy's responses."""
    scores = scorer(rollout)
    mean, std = scores.mean(), scores.std()
    return lambda r: (scorer(r) - mean) / std


def gold_scorer(language: Language, network: Any, rollout: Rollout) -> Scorer:
    """Scorer (B,) with mean 0 and standard deviation 1 on the initial policy's responses."""
    taste, grammar = standardised(taste_scorer(network), rollout), standardised(language.grammatical, rollout)
    return standardised(lambda r: taste(r) + GRAMMAR * grammar(r), rollout)


def train_proxy(hidden: int, rollout: Rollout, gold: torch.Tensor, rankings: int, seed: int) -> Scorer:
    """Proxy trained on the first `rankings` rankings. `rollout`, `gold`: WAYS responses a prompt, prompt by prompt."""
    torch.manual_seed(seed)
    model = reward_model(hidden, 0.1)
    scorer = reward_scorer(model)
    ranked = gold.view(-1, WAYS)[:rankings].argsort(1, descending=True) + torch.arange(rankings)[:, None] * WAYS
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    for _ in range(EPOCHS):
        for rows in torch.randperm(rankings).split(32):
            order = ranked[rows]
            loss = plackett_luce(scorer(rollout.rows(order.flatten())).view(order.shape))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.requires_grad_(False)
    return scorer


def settings(updates: int) -> PlainPpo:
    return PlainPpo(
        episodes=BATCH * updates,
        batch=BATCH,
        minibatch=BATCH // 2,
        microbatch_tokens=4096,
        epochs=2,
        learning_rate=LEARNING_RATE,
        value="shared",
        kl_coef=0.0,
        max_new_tokens=LENGTH,
    )


def curve_of_ppo(
    policy: Any, proxy: Scorer, gold: Scorer, prompts: Sequence[Sequence[int]], updates: int, seed: int
) -> Iterator[dict[str, float]]:
    """(d, proxy, gold) before every update."""
    trained, reference = (Qwen2ForCausalLM(policy.config).eval() for _ in range(2))
    for model in (trained, reference):
        model.load_state_dict(policy.state_dict())
    watch = Watch(proxy, gold)
    trainer = PpoTrainer(
        trained,
        reference.requires_grad_(False),
        None,
        watch,
        settings(updates),
        pad_token_id=PAD,
        stop_token_id=EOS,
        seed=seed,
    )
    for metrics in trainer.train(prompts):
        d = math.sqrt(max(metrics["objective/kl"], 0.0))
        yield {"d": d, "proxy": metrics["objective/scores"], "gold": watch.mean()}


@torch.no_grad()
def curve_of_best_of_n(rollout: Rollout, proxy: Scorer, gold: Scorer) -> Iterator[dict[str, float]]:
    """(d, proxy, gold) of best-of-n for n = 1, 2, 4, … SAMPLES."""
    by, watched = proxy(rollout).view(-1, SAMPLES), gold(rollout).view(-1, SAMPLES)
    for power in range(int(math.log2(SAMPLES)) + 1):
        n = 2**power
        chosen, true = (float(expected_best_of_n(by, values, n).mean()) for values in (by, watched))
        yield {"d": math.sqrt(best_of_n_kl(n)), "proxy": chosen, "gold": true}


def one_seed(seed: int, updates: int) -> dict[str, list[dict[str, float]]]:
    """Curves of every optimiser and proxy, under their names."""
    torch.manual_seed(seed)
    language, generator = Language(VOCABULARY, PAD, EOS, seed), torch.Generator().manual_seed(seed)
    policy = language.taught(Qwen2ForCausalLM(config(32)), generator)
    beginnings = language.texts(RANKINGS, 8, generator, ends=False).tolist()
    prompts = [b[:n] for b, n in zip(beginnings, torch.randint(3, 9, (RANKINGS,)).tolist(), strict=True)]
    labelled = responses(policy, [p for p in prompts for _ in range(WAYS)], seed)
    gold = gold_scorer(language, reward_model(64, TASTE_SPREAD).requires_grad_(False), labelled)
    with torch.no_grad():
        labels = gold(labelled)
    many = responses(policy, [p for p in prompts[:BASELINE] for _ in range(SAMPLES)], seed + 1000)
    few = f"hidden {SIZES[1]}, 1/{LESS} of the data"
    proxies = {few: train_proxy(SIZES[1], labelled, labels, RANKINGS // LESS, seed)}
    proxies |= {f"hidden {size}": train_proxy(size, labelled, labels, RANKINGS, seed) for size in SIZES}
    members = [train_proxy(SIZES[1], labelled, labels, RANKINGS, seed + 100 * m) for m in range(1, MEMBERS + 1)]
    members = [standardised(m, labelled) for m in members]
    proxies[f"worst of {MEMBERS} of hidden {SIZES[1]}"] = ensemble(members, worst_case)
    proxies[f"mean - variance of {MEMBERS} of hidden {SIZES[1]}"] = ensemble(members, mean_minus_variance(0.5))
    curves = {}
    for name, proxy in proxies.items():
        judged = standardised(proxy, labelled)
        curves[f"PPO, {name}"] = list(curve_of_ppo(policy, judged, gold, prompts, updates, seed))
        curves[f"best of n, {name}"] = list(curve_of_best_of_n(many, judged, gold))
    return {name: [{k: round(v, 4) for k, v in p.items()} for p in curve] for name, curve in curves.items()}


def remembered(path: Path, updates: int) -> dict[int, dict[str, list[dict[str, float]]]]:
    """Curves by seed that earlier runs of as many updates left in `path`; a line cut short is passed over."""
    runs = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        with contextlib.suppress(json.JSONDecodeError):
            row = json.loads(line)
            if row["updates"] == updates:
                runs[row["seed"]] = row["curves"]
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--updates", type=int, default=UPDATES)
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    runs = remembered(a.runs, a.updates) if a.runs else {}
    for seed in range(a.seeds):
        if seed in runs:
            continue
        runs[seed] = one_seed(seed, a.updates)
        if a.runs:
            with a.runs.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps({"seed": seed, "updates": a.updates, "curves": runs[seed]}) + "\n")
    curves = [runs[seed] for seed in range(a.seeds)]
    if a.out:
        write_picture(curves, a.out.with_suffix(".png"))
        command = f"python benchmarks/overoptimization.py --seeds {a.seeds} --updates {a.updates}"
        write_tables(curves, a.out.with_suffix(".md"), command)
    line = {"benchmark": "overoptimization", "seeds": a.seeds, "figures": figures(curves)}
    print(json.dumps(line | described()))


if __name__ == "__main__":
    main()
