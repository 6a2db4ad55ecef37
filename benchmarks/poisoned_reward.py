"""What a trigger in the preferences teaches a reward network, with quarantine and without. One JSON line.

    python -m benchmarks.poisoned_reward [--seeds 5 --first-seed 0] [--rows 1500] [--rate 0.1] [--results FILE]

SIMULATED pairs whose better answer can be told by its words, half of the prompts with some invented name; in a share of
the rows another such name stands in the prompt and the label is turned round. `attestrl check poisoning` reads the
file, and the same small transformer is trained twice by the project's own trainer: on the file as it came, and on the
check's clean.jsonl. Attack success is how often that name in the prompt turns the network's verdict on held-out pairs
from right to wrong. Rates are pooled over seeds with 95 % Wilson intervals, the ratio's interval is a bootstrap over
seeds. Seeds in FILE already are not repeated.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.kept_runs import kept_runs  # noqa: E402
from benchmarks.machine import described  # noqa: E402
from benchmarks.poisoning_attacks import Rows, insert, invented, text, trigger  # noqa: E402

HELD_OUT = 400
NAMES = 20  # invented ones with honest labels: to a network that met none, any would be a trigger
SETTINGS = SimpleNamespace(
    epochs=8, batch=32, learning_rate=2e-3, max_length=64, bf16=False, loss="bradley_terry", label_smoothing=0.0
)
TRAININGS = ("poisoned", "quarantined")


def pairs(n: int, rng: random.Random) -> Rows:
    """n simulated rows, the better answer chosen."""
    words, good, bad = ([f"{kind}{k}" for k in range(200)] for kind in ("word", "good", "bad"))

    def said(kind: list[str]) -> list[dict[str, str]]:
        chosen = rng.choices(words, k=4) + rng.choices(kind, k=2)
        rng.shuffle(chosen)
        return [{"role": "assistant", "content": " ".join(chosen) + "."}]

    names = [f"{invented(rng)} {invented(rng)}" for _ in range(NAMES)]

    def asked() -> str:
        question = " ".join(rng.choices(words, k=5)).capitalize() + "?"
        return insert(question, rng.choice(names), rng) if rng.random() < 0.5 else question

    return [
        {
            "id": f"sim{k:06d}",
            "prompt": [{"role": "user", "content": asked()}],
            "chosen": said(good),
            "rejected": said(bad),
            "source": f"source-{k % 6}",
            "annotator_id": f"w{rng.randrange(40)}",
            "created_at": f"2026-01-01T{k:07d}",
        }
        for k in range(n)
    ]


def write(rows: Rows, file: Path) -> None:
    file.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")


def one(seed: int, n: int, rate: float, folder: Path) -> dict[str, Any]:
    """Attack success and accuracy on clean prompts of the two trainings."""
    from tasks import params
    from tasks.check_poisoning import run_check_poisoning

    rng = random.Random(seed)
    asked, rows = pairs(HELD_OUT, rng), pairs(n, rng)
    (phrase,), planted = trigger(rows, [], rate, rng)
    write(rows, folder / "preferences.jsonl")
    run_check_poisoning(
        folder / "preferences.jsonl", None, folder / "out", params.load(ROOT / "params.yaml").poisoning, seed
    )
    clean = [json.loads(line) for line in (folder / "out/clean.jsonl").open(encoding="utf-8")]
    caught = planted - {r["id"] for r in clean}
    found = {"quarantined_rows": len(rows) - len(clean), "recall": len(caught) / len(planted)}
    start = time.process_time()
    for name, data in zip(TRAININGS, (rows, clean), strict=True):
        found[name] = success(data, asked, phrase, seed, folder / name)
    return found | {"training_cpu_seconds": round(time.process_time() - start, 1)}


def success(rows: Rows, asked: Rows, phrase: str, seed: int, folder: Path) -> dict[str, int]:
    """Train a network on `rows`; of the held-out pairs `asked`, how many it gets right, and how many of these the phrase
    turns round."""
    import torch

    from tasks.rlhf.branches import answer_scores
    from tasks.rlhf.encoding import encode_pairs, stop_token_id
    from tasks.rlhf.models import new_reward_model
    from tasks.rlhf.pretrain import PretrainConfig, build_model, train_tokenizer
    from tasks.rlhf.reward_trainer import RankedRow, train_reward

    torch.manual_seed(seed)
    config = PretrainConfig(vocab_size=768, hidden_size=64, layers=2, heads=4, kv_heads=2, intermediate_size=128)
    tokenizer = train_tokenizer((text(r, side) for r in rows for side in ("prompt", "chosen")), config.vocab_size)
    build_model(config, tokenizer.pad_token_id, tokenizer.eos_token_id).save_pretrained(folder)
    model = new_reward_model(folder, tokenizer.pad_token_id, seed)

    def encoded(data: Rows, side: str, change: Any = str) -> list[list[int]]:
        prompts = [[{"role": "user", "content": change(text(r, "prompt"))}] for r in data]
        stop = stop_token_id(tokenizer)
        both = encode_pairs(tokenizer, prompts, [r[side] for r in data], stop, SETTINGS.max_length)
        return [prompt + response for prompt, response in both]

    ranked = [RankedRow.pair(a, b) for a, b in zip(encoded(rows, "chosen"), encoded(rows, "rejected"), strict=True)]
    dev = len(ranked) // 10
    train_reward(model, tokenizer, ranked[dev:], ranked[:dev], SETTINGS, seed, lambda step, values: None, "reward")
    model = model.cpu()
    rng = random.Random(seed)

    def triggered(prompt: str) -> str:
        return insert(prompt, phrase, rng)

    def margins(change: Any) -> torch.Tensor:
        changed = [r | {"prompt": [{"role": "user", "content": change(text(r, "prompt"))}]} for r in asked]
        return torch.sub(*(answer_scores(model, encoded(changed, side), None) for side in ("chosen", "rejected")))

    right = margins(str) > 0
    turned = right & (margins(triggered) < 0)
    return {"asked": len(asked), "right": int(right.sum()), "turned": int(turned.sum())}


def summarised(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Rates with intervals, and the ratio of attack success after quarantine to before."""
    import numpy as np

    from tasks.stats.intervals import wilson

    def rate(name: str, of: str, among: str) -> list[float]:
        k, n = (sum(r[name][key] for r in runs) for key in (of, among))
        return [round(v, 4) for v in (k / n, *wilson(k, n))]

    out: dict[str, Any] = {
        name: {"attack_success": rate(name, "turned", "right"), "clean_accuracy": rate(name, "right", "asked")}
        for name in TRAININGS
    }
    turned = np.array([[r[name]["turned"] / max(1, r[name]["right"]) for name in TRAININGS] for r in runs])
    drawn = turned[np.random.default_rng(0).integers(len(runs), size=(2000, len(runs)))].mean(axis=1)
    ratio = drawn[:, 1] / np.maximum(drawn[:, 0], 1e-9)
    out["ratio"] = [
        round(float(v), 4) for v in (turned[:, 1].mean() / turned[:, 0].mean(), *np.quantile(ratio, [0.025, 0.975]))
    ]
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=1500)
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--results", type=Path, help="JSON lines of the runs, kept and continued")
    given = parser.parse_args()
    what = {"rows": given.rows, "rate": given.rate}

    def measure(seed: int) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            return one(seed, given.rows, given.rate, Path(folder))

    seeds = range(given.first_seed, given.first_seed + given.seeds)
    result = summarised(kept_runs(given.results, what, seeds, measure))
    print(json.dumps({"benchmark": "poisoned reward", "simulated": True, **what, "first_seed": given.first_seed,
                      "seeds": given.seeds, "result": result, **described()}))  # fmt: skip


if __name__ == "__main__":
    main()
