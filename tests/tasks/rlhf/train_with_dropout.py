"""Run by several processes: SFT of adapters with dropout, on rows that do not divide; each writes down the generators that it
keeps."""

import hashlib
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tasks.rlhf.models import load_causal_lm, load_tokenizer, with_lora
from tasks.rlhf.resume import Resume
from tasks.rlhf.sft_trainer import train_sft

SETTINGS = SimpleNamespace(
    epochs=2, batch=5, learning_rate=5e-3, max_length=32, bf16=False, save_steps=1, save_total_limit=2
)
LORA = SimpleNamespace(rank=4, alpha=8, dropout=0.5)
PAIRS = [([5 + k, 6], [7 + j for j in range(k % 4 + 1)]) for k in range(13)]


def main(model: str, out: str) -> None:
    kept: list[tuple[int, str, str]] = []

    def save(step: int, tensors: Any, _: Any) -> None:
        order, now = (
            hashlib.sha256(tensors[f"rng.{name}"].numpy().tobytes()).hexdigest() for name in ("order", "torch")
        )
        kept.append((step, order, now))

    folder = Path(model)
    adapted = with_lora(load_causal_lm(folder), LORA, "CAUSAL_LM", 7)
    train_sft(
        adapted, load_tokenizer(folder), PAIRS[2:], PAIRS[:2], SETTINGS, 7, lambda *_: None, Resume(1, save, None)
    )
    Path(f"{out}-{os.environ['RANK']}").write_text(json.dumps(kept), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
