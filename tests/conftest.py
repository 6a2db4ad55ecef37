"""What many tests share: a tiny language model made on the spot, and real preference pairs."""

import json
import os
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TRANSFORMERS_VERBOSITY="error")

import pytest

PAIRS = Path(__file__).resolve().parents[1] / "data/raw/hh_rlhf/pairs.jsonl"
ROWS = 160


@pytest.fixture(scope="session")
def hh_rows() -> list[dict[str, Any]]:
    """The first real preference pairs: id, prompt, chosen, rejected (messages), …"""
    with PAIRS.open(encoding="utf-8") as lines:
        return [json.loads(line) for line, _ in zip(lines, range(ROWS), strict=False)]


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory: pytest.TempPathFactory, hh_rows: list[dict[str, Any]]) -> Path:
    """A randomly initialised Qwen2 (hidden 32, 2 layers, vocabulary 512) and its tokenizer. Copy it before changing it."""
    import torch

    from tasks.rlhf.pretrain import PretrainConfig, build_model, train_tokenizer

    torch.manual_seed(0)
    config = PretrainConfig(vocab_size=512, hidden_size=32, layers=2, heads=2, kv_heads=1, intermediate_size=64)
    texts = (turn["content"] for row in hh_rows for turn in row["prompt"] + row["chosen"])
    tokenizer = train_tokenizer(texts, config.vocab_size)
    folder = tmp_path_factory.mktemp("model") / "tiny"
    build_model(config, tokenizer.pad_token_id, tokenizer.eos_token_id).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
