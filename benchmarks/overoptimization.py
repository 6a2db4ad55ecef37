"""Over-optimization of a proxy reward, with a synthetic gold reward (Gao et al. 2022; ensembles: Coste et al. 2023).

usage: python benchmarks/overoptimization.py [--seeds 5] [--updates 80] [--out docs/overoptimization]

SIMULATED: the gold reward is a fixed random network, the policy a small random language model. Proxies of three sizes
are trained by the Plackett–Luce loss on rankings that the gold reward makes; PPO and best-of-n then optimise each proxy
and an ensemble of the middle size, while the gold reward is only watched. Prints one JSON line; with --out also a table
(.md) and a picture (.png). d is the square root of the KL to the initial policy; intervals are over seeds (t, 95 %).
"""

import argparse
import json
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2ForSequenceClassification

from tasks.plots import canvas, save
from tasks.rlhf.best_of_n import best_of_n_kl, expected_best_of_n
from tasks.rlhf.ensembles import mean_minus_variance, worst_case
from tasks.rlhf.losses import plackett_luce
from tasks.rlhf.ppo import PpoTrainer, Scorer
from tasks.rlhf.rollout import Rollout, sample
from tasks.rlhf.scorers import ensemble, reward_scorer

VOCABULARY, PAD, EOS, LENGTH = 64, 0, 1, 12
SIZES = (8, 16, 48)  # hidden sizes of the proxies; the gold reward's is 64
RANKINGS, WAYS, EPOCHS, MEMBERS = 384, 4, 12, 4
SAMPLES = 128  # of best-of-n, from each of BASELINE prompts
BASELINE = 48
T_975 = {2: 12.71, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}


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


@torch.no_grad()
def standardised(scorer: Scorer, rollout: Rollout) -> Scorer:
    """The scorer with mean 0 and standard deviation 1 on the initial policy's responses."""
    scores = scorer(rollout)
    mean, std = scores.mean(), scores.std()
    return lambda r: (scorer(r) - mean) / std


def train_proxy(hidden: int, rollout: Rollout, gold: torch.Tensor, seed: int) -> Scorer:
    """Proxy trained on rankings of WAYS responses a prompt. `rollout`: prompt after prompt; `gold` (RANKINGS·WAYS,)."""
    torch.manual_seed(seed)
    model = reward_model(hidden, 0.1)
    scorer = reward_scorer(model)
    ranked = gold.view(-1, WAYS).argsort(1, descending=True) + torch.arange(RANKINGS)[:, None] * WAYS
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    for _ in range(EPOCHS):
        for rows in torch.randperm(RANKINGS).split(32):
            order = ranked[rows]
            loss = plackett_luce(scorer(rollout.rows(order.flatten())).view(order.shape))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.requires_grad_(False)
    return scorer


def settings(updates: int) -> SimpleNamespace:
    return SimpleNamespace(
        episodes=64 * updates,
        batch=64,
        minibatch=32,
        microbatch_tokens=4096,
        epochs=2,
        learning_rate=4e-3,
        value="shared",
        value_coef=0.1,
        kl_coef=0.0,
        kl_estimator="k1",
        kl_target=None,
        kl_horizon=1,
        kl_budget=None,
        max_kl=float("inf"),
        min_entropy=0.0,
        gamma=1.0,
        lam=0.95,
        clip_range=0.2,
        clip_range_value=0.2,
        max_grad_norm=1.0,
        temperature=1.0,
        max_new_tokens=LENGTH,
        missing_eos_score=None,
        missing_eos_penalty=0.0,
        whiten_rewards=False,
        bf16=False,
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


def fit(curve: Sequence[dict[str, float]], *, log: bool) -> dict[str, float]:
    """α and β of gold(d) − gold(0) = d(α − β log d), or d(α − β d), by least squares."""
    points = [(p["d"], p["gold"] - curve[0]["gold"]) for p in curve if p["d"] > 0.05]
    d, gain = (torch.tensor(x, dtype=torch.float64) for x in zip(*points, strict=True))
    shape = torch.stack([d, -d * d.log() if log else -d * d], 1)
    alpha, beta = torch.linalg.lstsq(shape, gain[:, None]).solution[:, 0].tolist()
    return {"alpha": alpha, "beta": beta}


def smooth(values: Sequence[float], width: int = 5) -> list[float]:
    """Centred moving averages."""
    half = width // 2
    return [statistics.fmean(values[max(0, i - half) : i + half + 1]) for i in range(len(values))]


def summary(curve: Sequence[dict[str, float]], *, log: bool) -> dict[str, float]:
    """Where the gold score peaks, what it and the proxy are at the end, and the fit."""
    gold, proxy = smooth([p["gold"] for p in curve]), smooth([p["proxy"] for p in curve])
    peak = max(range(len(gold)), key=gold.__getitem__)
    ends = {"peak_d": curve[peak]["d"], "peak_gold": gold[peak], "final_gold": gold[-1], "final_d": curve[-1]["d"]}
    return ends | {"final_proxy": proxy[-1], "proxy_at_peak": proxy[peak]} | fit(curve, log=log)


def one_seed(seed: int, updates: int) -> dict[str, list[dict[str, float]]]:
    """Curves of every optimiser and proxy, under their names."""
    torch.manual_seed(seed)
    policy = Qwen2ForCausalLM(config(32)).eval()
    gold_model = reward_model(64, 0.3).requires_grad_(False)
    prompts = [torch.randint(2, VOCABULARY, (int(n),)).tolist() for n in torch.randint(3, 9, (RANKINGS,))]
    labelled = responses(policy, [p for p in prompts for _ in range(WAYS)], seed)
    gold = standardised(reward_scorer(gold_model), labelled)
    with torch.no_grad():
        labels = gold(labelled)
    many = responses(policy, [p for p in prompts[:BASELINE] for _ in range(SAMPLES)], seed + 1000)
    proxies = {f"proxy {size}": train_proxy(size, labelled, labels, seed) for size in SIZES}
    members = [train_proxy(SIZES[1], labelled, labels, seed + 100 * m) for m in range(1, MEMBERS + 1)]
    members = [standardised(m, labelled) for m in members]
    proxies["worst case of 4"] = ensemble(members, worst_case)
    proxies["mean − variance of 4"] = ensemble(members, mean_minus_variance(0.5))
    curves = {}
    for name, proxy in proxies.items():
        judged = standardised(proxy, labelled)
        curves[f"PPO, {name}"] = list(curve_of_ppo(policy, judged, gold, prompts, updates, seed))
        curves[f"best of n, {name}"] = list(curve_of_best_of_n(many, judged, gold))
    return curves


def interval(values: Sequence[float]) -> list[float]:
    """[mean, low, high] over seeds."""
    mean = statistics.fmean(values)
    half = T_975[len(values)] * statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return [round(mean, 3), round(mean - half, 3), round(mean + half, 3)]


def budget_kept(curves: Sequence[Sequence[dict[str, float]]]) -> list[float]:
    """Share of the peak's gold score that a KL budget keeps, which for each seed is the mean peak of the others."""
    peaks = [summary(c, log=True) for c in curves]
    shares = []
    for i, curve in enumerate(curves):
        budget = statistics.fmean(p["peak_d"] for k, p in enumerate(peaks) if k != i)
        gold = smooth([p["gold"] for p in curve])
        stop = next((k for k, p in enumerate(curve) if p["d"] >= budget), len(curve) - 1)
        shares.append(gold[stop] / peaks[i]["peak_gold"])
    return shares


def report(found: dict[str, list[dict[str, float]]], out: Path, runs: Sequence[dict[str, Any]], command: str) -> None:
    """Table and picture."""
    keys = ("peak_d", "peak_gold", "final_d", "final_gold", "final_proxy", "alpha", "beta")
    lines = ["# Over-optimization of a proxy reward", "", (__doc__ or "").split("\n\n")[2].replace("\n", " "), ""]
    lines += [f"`{command}`", "", "| optimiser | " + " | ".join(keys) + " |", "| --- " * (len(keys) + 1) + "|"]
    for name, summaries in found.items():
        cells = ["{} ({} to {})".format(*interval([s[k] for s in summaries])) for k in keys]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", f"![curves]({out.name}.png)", ""]
    out.with_suffix(".md").write_text("\n".join(lines), encoding="utf-8")
    names = list(runs[0])
    figure, axes = canvas(len(names) // 2, "SIMULATED: gold (solid) and proxy (dashed) score against √KL")
    for axis, pair in zip(axes, (names[i : i + 2] for i in range(0, len(names), 2)), strict=True):
        axis.set_title(pair[0].removeprefix("PPO, "), fontsize=9)
        for name, colour in zip(pair, ("tab:blue", "tab:orange"), strict=True):
            for run in runs:
                d = [p["d"] for p in run[name]]
                axis.plot(d, smooth([p["gold"] for p in run[name]]), color=colour, linewidth=0.8)
                axis.plot(d, smooth([p["proxy"] for p in run[name]]), color=colour, linewidth=0.8, linestyle="--")
    save(figure, out.with_suffix(".png"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--updates", type=int, default=80)
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    runs = [one_seed(seed, a.updates) for seed in range(a.seeds)]
    found = {name: [summary(run[name], log=name.startswith("PPO")) for run in runs] for name in runs[0]}
    if a.out:
        report(found, a.out, runs, f"python benchmarks/overoptimization.py --seeds {a.seeds} --updates {a.updates}")
    figures = {name: {k: interval([s[k] for s in rows]) for k in rows[0]} for name, rows in found.items()}
    budget = {n: interval(budget_kept([r[n] for r in runs])) for n in runs[0] if n.startswith("PPO") and a.seeds > 1}
    print(json.dumps({"benchmark": "overoptimization", "seeds": a.seeds, "figures": figures, "budget_keeps": budget}))


if __name__ == "__main__":
    main()
