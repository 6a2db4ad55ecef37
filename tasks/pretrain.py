"""Pre-train the small base model that ships with the repository.

    python -m tasks.pretrain --out data/raw/attestrl-small

Texts: the prompts of HH-RLHF, GSM8K problems and PandaLM instructions from `data/raw`, each without the quarter or so
whose prompt stands on a held-out side (`tasks.splits.HELD_OUT_FROM`): what is evaluated later was never trained on.
The answers of preference pairs are not read, on any side: a base that knows the answers of the training side by heart
hands the reward model features that the held-out side lacks. (An answer may still stand as an earlier turn in the
prompt of another pair of the same conversation: 22 of the 1,847 chosen ones do, and 124 of the rejected.)
"""

import argparse
import gzip
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.splits import HELD_OUT_FROM, position, split_key

Messages = list[dict[str, str]]
VALIDATION_FROM = 0.72  # [VALIDATION_FROM, HELD_OUT_FROM) is for the reported bits per character


def _turns(*texts: str) -> Messages:
    return [{"role": role, "content": t} for role, t in zip(("user", "assistant"), texts, strict=True)]


def _keyed(messages: Messages) -> tuple[str, Messages]:
    return split_key(messages), messages


def conversations(raw: Path) -> Iterator[tuple[str, Messages]]:
    """(split key, conversation) of the three sets, held-out prompts included."""
    for line in (raw / "hh_rlhf/pairs.jsonl").open(encoding="utf-8"):
        yield _keyed(json.loads(line)["prompt"])
    with gzip.open(raw / "gsm8k/train.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            yield _keyed(_turns(row["question"], re.sub(r"<<[^>]*>>", "", row["answer"])))
    for line in (raw / "pandalm/pairs.jsonl").open(encoding="utf-8"):
        row = json.loads(line)
        prompt = f"{row['instruction']}\n{row['input']}".strip()
        for response in ("response1", "response2"):
            yield _keyed(_turns(prompt, row[response]))


def corpus(raw: Path, seed: int) -> tuple[list[Messages], list[Messages]]:
    """(training, validation) conversations, shuffled; none of them on a held-out side."""
    train: list[Messages] = []
    validation: list[Messages] = []
    for key, messages in conversations(raw):
        at = position(key)
        if at < HELD_OUT_FROM:
            (validation if at >= VALIDATION_FROM else train).append(messages)
    random.Random(seed).shuffle(train)
    return train, validation


def main() -> None:
    """Train, save in bf16, and write the figures of the model card beside the weights."""
    import torch
    from tqdm import tqdm

    from tasks.rlhf import pretrain as recipe

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, default=Path("data/raw"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=recipe.PretrainConfig.steps)
    parser.add_argument("--threads", type=int, default=1, help="the shipped model was made with 1")
    args = parser.parse_args()
    config = recipe.PretrainConfig(steps=args.steps)
    torch.set_num_threads(args.threads)
    torch.manual_seed(config.seed)

    train, validation = corpus(args.raw, config.seed)
    tokenizer = recipe.train_tokenizer((m["content"] for c in train for m in c), config.vocab_size)

    def encode(rows: list[Messages]) -> torch.Tensor:
        ids = tokenizer([tokenizer.apply_chat_template(c, tokenize=False) for c in rows], add_special_tokens=False)
        return torch.tensor([t for row in ids["input_ids"] for t in row])

    tokens, held = encode(train), encode(validation)
    characters = sum(len(m["content"]) for c in validation for m in c)
    model = recipe.build_model(config, tokenizer.pad_token_id, tokenizer.eos_token_id)
    curve: list[dict[str, Any]] = []
    bar = tqdm(total=config.steps, unit="step", mininterval=5)

    def on_step(step: int, loss: float) -> None:
        bar.update()
        if (step + 1) % 100 == 0 or step + 1 == config.steps:
            nats = recipe.held_out_loss(model, held, config)
            bits = nats * len(held) / characters / 0.6931471805599453
            curve.append({"step": step + 1, "train_loss": loss, "validation_loss": nats, "bits_per_character": bits})
            tqdm.write(json.dumps(curve[-1]))

    recipe.pretrain(model, tokens, config, on_step)
    model.to(torch.bfloat16).save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)
    figures = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "train_tokens": len(tokens),
        "epochs": config.steps * config.batch * config.context / len(tokens),
        "config": vars(config),
        "curve": curve,
    }
    (args.out / "pretrain.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
