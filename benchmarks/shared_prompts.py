"""What it saves that the reward model reads what two answers begin with in common once: python -m benchmarks.shared_prompts
[--rounds N] [--batches N]; one JSON line.

Forward and backward pass of the Bradley–Terry loss on real pairs (HH-RLHF), the shipped model in fp32, 16 pairs a batch of
like length: padded, each conversation for itself, and end to end with common beginnings read once; alternating.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import described

ROOT = Path(__file__).resolve().parents[1]
BASE = ROOT / "data/raw/attestrl-small"
PAIRS = ROOT / "data/raw/hh_rlhf/pairs.jsonl"
BATCH = 16
LONGEST = 256


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", type=int, default=8)
    asked = parser.parse_args()
    from tasks.rlhf.models import load_tokenizer, new_reward_model

    tokenizer = load_tokenizer(BASE)
    batches = drawn(tokenizer, asked.batches)
    model = new_reward_model(BASE, pad_token_id=tokenizer.pad_token_id, seed=0)
    ways = {"padded": padded, "shared": shared}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    losses: dict[str, float] = {}
    for _ in range(asked.rounds):
        for way, scores in ways.items():
            began = time.monotonic()
            losses[way] = sum(step(model, batch, scores, tokenizer.pad_token_id) for batch in batches)
            seconds[way].append(round(time.monotonic() - began, 2))
    ratio = [round(p / s, 2) for p, s in zip(seconds["padded"], seconds["shared"], strict=True)]
    found = {"seconds": seconds, "padded_over_shared": ratio, "median": statistics.median(ratio), "losses": losses}
    print(json.dumps({"benchmark": "shared_prompts", "pairs": BATCH * asked.batches, **found, **described()}))


def drawn(tokenizer: Any, number: int) -> list[list[list[int]]]:
    """Batches of 2 · 16 conversations as token ids, the better ones first, evenly from the shortest to the longest."""
    from tasks.formats import read_preferences
    from tasks.rlhf.encoding import encode_pairs, stop_token_id

    table = read_preferences(str(PAIRS)).head(1000)
    prompts, stop = table["prompt"].to_list(), stop_token_id(tokenizer)
    sides = [encode_pairs(tokenizer, prompts, table[s].to_list(), stop, LONGEST) for s in ("chosen", "rejected")]
    pairs = sorted(
        ([p + a for p, a in both] for both in zip(*sides, strict=True)), key=lambda both: max(map(len, both))
    )
    starts = [round(k * (len(pairs) - BATCH) / max(number - 1, 1)) for k in range(number)]
    return [[both[side] for side in (0, 1) for both in pairs[at : at + BATCH]] for at in starts]


def step(model: Any, rows: list[list[int]], scores: Any, pad: int) -> float:
    """Loss of a batch, after its backward pass."""
    from torch.nn.functional import logsigmoid

    better, worse = scores(model, rows, pad).chunk(2)
    loss = -logsigmoid(better - worse).mean()
    loss.backward()
    model.zero_grad()
    return float(loss.detach())


def padded(model: Any, rows: list[list[int]], pad: int) -> Any:
    from tasks.rlhf.models import pad_right

    ids, mask = pad_right(rows, pad)
    hidden = model.base_model(ids, attention_mask=mask).last_hidden_state
    return model.score(hidden[range(len(rows)), mask.sum(1) - 1])[:, 0]


def shared(model: Any, rows: list[list[int]], pad: int) -> Any:
    from tasks.rlhf.branches import scores_at_once
    from tasks.rlhf.rollout import score_head

    return scores_at_once(model, score_head(model), rows)


if __name__ == "__main__":
    main()
