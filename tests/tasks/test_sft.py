import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from governance.digest import sha256_path
from governance.errors import BadInput
from tasks.rlhf.encoding import encode_pairs, stop_token_id
from tasks.rlhf.models import load_causal_lm, load_tokenizer, merged, with_lora
from tasks.rlhf.sft_trainer import Encoded, train_sft
from tasks.sft import split_dev

SETTINGS = SimpleNamespace(epochs=6, batch=4, learning_rate=5e-3, max_length=96, bf16=False)
LORA = SimpleNamespace(rank=4, alpha=8, dropout=0.0)


def encoded(folder: Path, rows: list[dict[str, Any]], max_tokens: int = 96) -> Encoded:
    tokenizer = load_tokenizer(folder)
    stop = stop_token_id(tokenizer)
    return encode_pairs(tokenizer, [r["prompt"] for r in rows], [r["chosen"] for r in rows], stop, max_tokens)


def trained(folder: Path, pairs: Encoded, lora: bool = False, **changes: Any) -> tuple[Any, list[dict[str, float]]]:
    torch.manual_seed(0)
    model, history = load_causal_lm(folder), []
    if lora:
        model = with_lora(model, LORA, "CAUSAL_LM", 7)
    settings = SimpleNamespace(**(vars(SETTINGS) | changes))
    on_log = lambda step, values: history.append(values)  # noqa: E731
    final = train_sft(model, load_tokenizer(folder), pairs[4:], pairs[:4], settings, 7, on_log)
    return merged(model), [*history, final]


def answer_loss(model: Any, pairs: Encoded) -> float:
    """Mean −log p over the tokens of the answers, the end token included, one conversation at a time."""
    losses = []
    with torch.no_grad():
        for prompt, answer in pairs:
            log_p = model.cpu()(torch.tensor([prompt + answer])).logits[0].float().log_softmax(-1)
            losses += [-log_p[len(prompt) + i - 1, token].item() for i, token in enumerate(answer)]
    return sum(losses) / len(losses)


def test_loss_is_on_the_answers_tokens_alone(tiny_model_folder: Path, hh_rows: list[Any]) -> None:
    pairs = encoded(tiny_model_folder, hh_rows[:12])
    model, history = trained(tiny_model_folder, pairs, epochs=1)
    assert history[-1]["loss"] == pytest.approx(answer_loss(model, pairs[:4]), rel=1e-3)


def test_training_lowers_the_loss_and_repeats_itself(tiny_model_folder: Path, hh_rows: list[Any]) -> None:
    pairs = encoded(tiny_model_folder, hh_rows[:16])
    before = answer_loss(load_causal_lm(tiny_model_folder), pairs[4:])
    first, history = trained(tiny_model_folder, pairs)
    assert answer_loss(first, pairs[4:]) < before - 0.2
    again, repeated = trained(tiny_model_folder, pairs)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert repeated[-1]["loss"] == history[-1]["loss"]


def test_lora_switch_learns_through_adapters(tiny_model_folder: Path, hh_rows: list[Any]) -> None:
    pairs = encoded(tiny_model_folder, hh_rows[:16])
    base = load_causal_lm(tiny_model_folder)
    model, _ = trained(tiny_model_folder, pairs, lora=True, learning_rate=2e-2)
    assert answer_loss(model, pairs[4:]) < answer_loss(base, pairs[4:]) - 0.05
    assert torch.equal(model.get_input_embeddings().weight, base.get_input_embeddings().weight)  # no adapter there
    matrix = "model.layers.0.mlp.up_proj.weight"
    assert torch.linalg.matrix_rank(model.state_dict()[matrix] - base.state_dict()[matrix], rtol=1e-4) <= LORA.rank


def test_a_long_prompt_loses_its_beginning_and_the_answer_stays(tiny_model_folder: Path, hh_rows: list[Any]) -> None:
    tokenizer = load_tokenizer(tiny_model_folder)
    stop = stop_token_id(tokenizer)
    whole = encoded(tiny_model_folder, hh_rows, 10_000)
    cut = encoded(tiny_model_folder, hh_rows, 128)
    assert any(len(p) + len(a) > 128 for p, a in whole)
    for (prompt, answer), (short_prompt, short_answer) in zip(whole, cut, strict=True):
        assert len(short_prompt) + len(short_answer) <= 128
        assert prompt[len(prompt) - len(short_prompt) :] == short_prompt
        assert short_answer[-1] == answer[-1] == stop
        assert short_answer[:-1] == answer[: len(short_answer) - 1]
        if len(answer) <= 64:
            assert short_answer == answer


def test_stage_leaves_model_lineage_and_curve(trained_project: Path) -> None:
    models, report = trained_project / "data/models", trained_project / "data/reports/sft"
    lineage = json.loads((models / "sft/lineage.json").read_text())
    assert lineage["base_sha256"] == json.loads((models / "base/lineage.json").read_text())["base_sha256"]
    assert lineage["base_sha256"] != sha256_path(models / "base")
    assert lineage["data_sha256"] == sha256_path(trained_project / "data/processed/sft.parquet")
    history = [json.loads(line) for line in (report / "history.jsonl").read_text().splitlines()]
    assert [r["step"] for r in history] == sorted(r["step"] for r in history)
    assert any("eval_loss" in r for r in history)
    assert not [k for r in history for k in r if "runtime" in k or "second" in k]
    assert (report / "loss.png").read_bytes().startswith(b"\x89PNG")
    record = json.loads((report / "record.json").read_text())
    assert record["metrics"]["dev/perplexity"] > 1
    assert record["inputs"]["data/models/base"] == sha256_path(models / "base")


def test_dev_part_does_not_depend_on_the_order() -> None:
    pairs: Encoded = [([i], [i]) for i in range(200)]
    ids = [f"demo-{i}" for i in range(200)]
    train, dev = split_dev(pairs, ids)
    assert 5 <= len(dev) <= 40
    assert sorted(train + dev) == pairs
    assert sorted(split_dev(pairs[::-1], ids[::-1])[1]) == sorted(dev)
    with pytest.raises(BadInput, match="at least two"):
        split_dev(pairs[:1], ids[:1])
