"""Packed rows against TRL's own head on padded ones: the same figures of every token, and the same gradient."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence
from trl.trainer.utils import add_fused_lm_head

from tasks.rlhf import packed_head as module
from tasks.rlhf.models import load_causal_lm, with_lora
from tasks.rlhf.packed_head import IGNORED, packed_head, with_packed_head

FIELDS = ("log_probs", "entropy", "mean_logits", "is_top1", "label_mask")
LORA = SimpleNamespace(rank=4, alpha=8, dropout=0.0)


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    """Rows of 3, 9 and 17 tokens; of one the prompt is longer than the answer, of one it is the other way round."""
    rows = [torch.arange(5, 5 + n) for n in (3, 9, 17)]
    labels = [row.clone() for row in rows]
    for row, prompt in zip(labels, (2, 6, 4), strict=True):
        row[:prompt] = IGNORED
    return {
        "input_ids": pad_sequence(rows, batch_first=True, padding_value=2),
        "attention_mask": pad_sequence([torch.ones_like(row) for row in rows], batch_first=True),
        "labels": pad_sequence(labels, batch_first=True, padding_value=IGNORED),
    }


@pytest.mark.parametrize("lora", [False, True])
def test_it_is_trls_head(
    lora: bool, tiny_model_folder: Path, batch: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROWS", 4)  # in several parts
    models = [load_causal_lm(tiny_model_folder) for _ in range(2)]
    add_fused_lm_head(models[1], outputs=("log_probs", "entropy", "mean_logits", "is_top1"))
    if lora:
        models = [with_lora(model, LORA, "CAUSAL_LM", 7) for model in models]
    found = packed_head(models[0], bf16=False)(**batch, use_cache=False, fused_lm_head=True)
    told = models[1](**batch, use_cache=False, fused_lm_head=True)
    assert found.label_mask.sum() == 1 + 3 + 13
    for field in FIELDS:
        torch.testing.assert_close(getattr(found, field), getattr(told, field).to(getattr(found, field).dtype))
    for outputs in (found, told):
        (outputs.log_probs * torch.linspace(-1, 1, outputs.log_probs.shape[1])).sum().backward()
    gradients = [{n: p.grad for n, p in model.named_parameters() if p.grad is not None} for model in models]
    assert gradients[0].keys() == gradients[1].keys() != set()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-4, atol=1e-6, msg=name)


def test_a_first_token_has_nothing_before_it(tiny_model_folder: Path, batch: dict[str, torch.Tensor]) -> None:
    left = {name: x.flip(1) for name, x in batch.items()}  # padded on the left
    left["labels"][0, -3:] = left["input_ids"][0, -3:]  # and without a prompt
    found = packed_head(load_causal_lm(tiny_model_folder), bf16=False)(**left)
    assert found.label_mask[0].tolist() == [False] * 14 + [True, True]
    assert (found.log_probs[0] != 0).tolist() == found.label_mask[0].tolist()


@pytest.mark.parametrize(("processes", "device", "experts"), [(2, "cpu", False), (1, "cuda", False), (1, "cpu", True)])
def test_others_are_trls(processes: int, device: str, experts: bool) -> None:
    model: Any = object()
    args, shared = SimpleNamespace(device=torch.device(device)), SimpleNamespace(count=processes)
    trainer = SimpleNamespace(args=args, shared=shared, aux_loss_enabled=experts)
    assert with_packed_head(trainer, model, bf16=False) is model
