"""Packed rows give what each row alone gives, and a model that mixes them is refused."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tasks.rlhf.models import load_causal_lm
from tasks.rlhf.packing import CannotPack, KeyValueCache, Packed, check_packing, hidden_states
from tasks.rlhf.token_logprobs import token_logprobs

FIRST = SimpleNamespace(layer_idx=0)
ROWS = [[5, 6, 7, 8, 9, 10, 11], [12], [13, 14, 15, 16]]


@pytest.fixture
def model(tiny_model_folder: Path) -> Any:
    return load_causal_lm(tiny_model_folder).eval()


def packed_rows(side: str = "right", rows: list[list[int]] = ROWS) -> Packed:
    width = max(len(r) for r in rows) + 2
    ids, mask = torch.zeros(len(rows), width).long(), torch.zeros(len(rows), width).long()
    for i, row in enumerate(rows):
        place = slice(width - len(row), width) if side == "left" else slice(len(row))
        ids[i, place], mask[i, place] = torch.tensor(row), 1
    return Packed.of(ids, mask)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("rows", [ROWS, [[4, 5, 6], [7, 8, 9]]])
def test_packed_rows_equal_rows_alone(model: Any, side: str, rows: list[list[int]]) -> None:
    packed = packed_rows(side, rows)
    assert packed.ids.tolist() == [token for row in rows for token in row]
    together = hidden_states(model, packed.ids, packed.column, packed).split([len(r) for r in rows])
    for row, states in zip(rows, together, strict=True):
        alone = model.base_model(torch.tensor([row])).last_hidden_state[0]
        assert torch.allclose(states, alone, atol=1e-5)
    assert model.config._attn_implementation != "packed"  # others still get what they asked for


def test_gradients_equal_those_of_rows_alone(model: Any) -> None:
    packed = packed_rows()
    keep = torch.tensor([3, 6, 7, 10])
    slope = torch.randn(4, model.config.hidden_size, generator=torch.Generator().manual_seed(0))
    loss = (hidden_states(model, packed.ids, packed.column, packed, keep) * slope).sum()
    together = torch.autograd.grad(loss, list(model.base_model.parameters()))
    states = torch.cat([model.base_model(torch.tensor([r])).last_hidden_state[0] for r in ROWS])
    alone = torch.autograd.grad((states[keep] * slope).sum(), list(model.base_model.parameters()))
    for a, b in zip(together, alone, strict=True):
        assert torch.allclose(a, b, atol=1e-4 * float(b.abs().max()))


def test_a_sliding_window_is_kept_while_training_and_while_sampling(model: Any) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(12, 1, 8) for _ in range(3))
    packed = packed_rows()
    out = packed.attend(FIRST, q, k, v, 0.3, 3)
    scores = (q[:7, 0] @ k[:7, 0].T) * 0.3
    distance = torch.arange(7)[:, None] - torch.arange(7)
    scores = scores.masked_fill((distance < 0) | (distance >= 3), -torch.inf)
    assert torch.allclose(out[:7, 0], scores.softmax(-1) @ v[:7, 0], atol=1e-5)
    cache = KeyValueCache(packed, 2)
    cache.attend(FIRST, q, k, v, 0.3, 3)
    cache.advance()
    new = [torch.randn(3, 1, 8) for _ in range(3)]
    step = cache.attend(FIRST, *new, 0.3, 3)
    keys, values = torch.cat([k[5:7, 0], new[1][0]]), torch.cat([v[5:7, 0], new[2][0]])
    expected = ((new[0][0] @ keys.T) * 0.3).softmax(-1) @ values
    assert torch.allclose(step[0], expected, atol=1e-5)


def test_a_model_whose_rows_would_mix_is_refused(model: Any) -> None:
    check_packing(model, ROWS)

    def shifted(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        return output + output.roll(1, 1)  # as a convolution over the tokens would

    model.model.layers[0].mlp.register_forward_hook(shifted)
    with pytest.raises(CannotPack, match="cannot be packed"):
        check_packing(model, ROWS)


def test_token_logprobs_and_their_gradient() -> None:
    torch.manual_seed(0)
    hidden, weight = torch.randn(6, 5, requires_grad=True), torch.randn(9, 5, requires_grad=True)
    tokens, scale = torch.randint(9, (6,)), torch.randn(6)
    ours = token_logprobs(hidden, weight, tokens, 0.7)
    theirs = (hidden @ weight.T / 0.7).log_softmax(-1).gather(1, tokens[:, None])[:, 0]
    assert torch.allclose(ours, theirs, atol=1e-6)
    expected = torch.autograd.grad((theirs * scale).sum(), [hidden, weight])
    for a, b in zip(torch.autograd.grad((ours * scale).sum(), [hidden, weight]), expected, strict=True):
        assert torch.allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("kept", [0, 270])
def test_spare_tokens_that_spare_a_cpu_new_kernels_change_nothing(
    model: Any, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    torch.manual_seed(0)
    packed = packed_rows(rows=[[int(t) for t in torch.randint(4, 60, (n,))] for n in (130, 101, 70)])
    keep = torch.randperm(301)[:kept].sort().values if kept else None
    tokens = torch.randint(4, 60, (kept or 301,))
    seen: list[int] = []
    model.base_model.layers[-1].mlp.gate_proj.register_forward_pre_hook(lambda _, x: seen.append(x[0].shape[1]))

    def learned() -> list[torch.Tensor]:
        with torch.autocast("cpu", torch.bfloat16):
            states = hidden_states(model, packed.ids, packed.column, packed, keep)
            logprobs = token_logprobs(states, model.lm_head.weight, tokens, 1.0)
        return [logprobs, *torch.autograd.grad(logprobs.sum(), list(model.parameters()))]

    spared = learned()
    assert seen == [320]
    for module in ("packing", "token_logprobs"):
        monkeypatch.setattr(f"tasks.rlhf.{module}.spare_rows", lambda rows, device: 0)
    for a, b in zip(spared, learned(), strict=True):
        assert (a - b).norm() <= 0.01 * b.norm()
