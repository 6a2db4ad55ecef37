"""On a CUDA device: recorded steps, flash attention over packed rows and compiled layers give what the plain ones give."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.rlhf import compiled, decoding
from tasks.rlhf.packing import Packed, hidden_states
from tasks.rlhf.rollout import Rollout, response_logprobs, sample
from tests.tasks.rlhf.test_ppo import PROMPTS as FEW
from tests.tasks.rlhf.test_ppo import trainer

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
PROMPTS = [[(7 * i + j) % 500 + 2 for j in range(3 + i % 40)] for i in range(96)]


def made(kind: str = "qwen2", **sizes: int) -> Any:
    """A random model whose answers end at different lengths."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    common = {"vocab_size": 512, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 6}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **common | heads | sizes)).eval()
    with torch.no_grad():
        model.lm_head.weight[1] *= 6
    return model


def draw(model: Any, prompts: list[list[int]] = PROMPTS, most: int = 150) -> Rollout:
    generator = torch.Generator().manual_seed(0)
    kept = {"pad_token_id": 0, "stop_token_id": 1, "max_new_tokens": most, "temperature": 1.0}
    return sample(model, prompts, generator=generator, **kept)


def gradient(model: Any, rollout: Rollout, bf16: bool) -> torch.Tensor:
    model.zero_grad()
    with torch.autocast("cuda", torch.bfloat16, enabled=bf16):
        logprobs = response_logprobs(model, rollout, 1.0)
    slope = torch.sin(torch.arange(logprobs.numel(), device="cuda").float())
    (logprobs.flatten() * slope).sum().backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@on_gpu
def test_recorded_steps_sample_what_single_ones_do(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded, here = draw(made().cuda()), draw(made())
    began = decoding.Decoder.__init__

    def alone(self: Any, *given: Any) -> None:
        began(self, *given)
        self._recorded = False

    monkeypatch.setattr(decoding.Decoder, "__init__", alone)
    single = draw(made().cuda())
    assert torch.equal(recorded.response_ids, single.response_ids)
    assert torch.equal(recorded.logprobs, single.logprobs)
    same = (recorded.response_ids.cpu() == here.response_ids).all(1).float().mean()
    assert same > 0.9  # another order of summation may tip a draw
    assert recorded.mask.sum(1).unique().numel() > 10


@on_gpu
def test_a_model_that_cannot_be_recorded_samples_too() -> None:
    """The experts of Mixtral are chosen on the CPU's side."""
    assert draw(made("mixtral", num_local_experts=4).cuda()).mask.sum() > 0


@on_gpu
def test_gradients_of_compiled_layers_and_of_flash_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "LEAST", 1)
    rollout = draw(made().cuda())
    expected = gradient(made().cuda(), rollout, bf16=False)
    for bf16, most in ((False, 1e-5), (True, 0.03)):
        model = compiled.placed_for_work(made(), torch.device("cuda"))
        found = gradient(model, rollout, bf16)
        assert (found - expected).norm() < most * expected.norm()
    assert torch.equal(draw(model).response_ids, rollout.response_ids)


@on_gpu
def test_an_update_starts_from_a_ratio_of_one(tiny_model_folder: Path) -> None:
    metrics = next(trainer(tiny_model_folder).train(FEW))
    assert abs(metrics["val/first_ratio"] - 1) < 1e-5


def test_layers_are_compiled_once_for_rows_of_every_length() -> None:
    """Without a break, and not again for another number of rows, or another width."""
    from torch._dynamo.testing import CompileCounterWithBackend

    model = made(hidden_size=32, intermediate_size=32, num_hidden_layers=3)
    shapes = [(4, 9), (7, 13), (3, 20)]
    rows = [Packed.of(torch.arange(n * w).reshape(n, w) + 2, torch.ones(n, w).long()) for n, w in shapes]
    plain = [hidden_states(model, r.ids, r.column, r) for r in rows]
    counter = CompileCounterWithBackend("eager")
    for layer in model.base_model.layers:
        layer.compile(dynamic=True, fullgraph=True, backend=counter)
    for row, expected in zip(rows, plain, strict=True):
        assert torch.allclose(hidden_states(model, row.ids, row.column, row), expected, atol=1e-5)
    assert counter.frame_count == 1
    draw(model, PROMPTS[:2], 4)  # sampling goes without the compiler
    assert counter.frame_count == 1
