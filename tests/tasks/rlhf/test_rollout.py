"""Sampling: same seed same tokens, log-probabilities equal to a fresh pass, nothing after the end token."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.rlhf.models import load_causal_lm
from tasks.rlhf.rollout import Rollout, response_logprobs, sample

PROMPTS = [[5, 6, 7], [8, 9, 10, 11, 12, 13, 14], [15], [16, 17, 18, 19, 20]] * 4


@pytest.fixture(scope="module")
def model(tiny_model_folder: Path) -> Any:
    return load_causal_lm(tiny_model_folder).eval()


def draw(model: Any, prompts: list[list[int]] = PROMPTS, *, seed: int = 0, group: int = 32, stop: int = 1) -> Rollout:
    generator = torch.Generator().manual_seed(seed)
    return sample(
        model,
        prompts,
        pad_token_id=0,
        stop_token_id=stop,
        max_new_tokens=12,
        temperature=0.8,
        generator=generator,
        group=group,
    )


def likely_stop(model: Any) -> int:
    """A token that this model often says, so that answers end at different lengths."""
    return int(draw(model, stop=-1).response_ids.flatten().mode().values)


def test_same_seed_same_bytes_whatever_the_groups(model: Any) -> None:
    first, again, small = draw(model), draw(model), draw(model, group=3)
    assert torch.equal(first.response_ids, again.response_ids)
    assert torch.equal(first.logprobs, again.logprobs)
    assert torch.equal(first.response_ids, small.response_ids)
    assert torch.allclose(first.logprobs, small.logprobs, atol=1e-5)
    assert not torch.equal(first.response_ids, draw(model, seed=1).response_ids)


def test_sampled_logprobs_equal_a_fresh_forward_pass(model: Any) -> None:
    rollout = draw(model, stop=likely_stop(model))
    fresh, entropy = response_logprobs(model, rollout, 0.8)
    real = rollout.mask.bool()
    assert (fresh - rollout.logprobs)[real].abs().max() < 1e-5
    assert (entropy[real] > 0).all()


def test_nothing_after_the_end_token(model: Any) -> None:
    stop = likely_stop(model)
    rollout = draw(model, stop=stop)
    lengths = rollout.mask.sum(-1).long()
    assert lengths.min() < lengths.max()
    for row, length in enumerate(lengths.tolist()):
        answer = rollout.response_ids[row, :length].tolist()
        assert (answer[-1] == stop) == bool(rollout.ended[row])
        assert stop not in answer[:-1]
        assert not rollout.response_ids[row, length:].any()
        assert not rollout.logprobs[row, length:].any()


def test_padding_and_company_do_not_change_a_row(model: Any) -> None:
    """A row alone and the same row among longer ones have the same log-probabilities."""
    rollout = draw(model)
    whole, _ = response_logprobs(model, rollout, 0.8)
    for row in range(4):
        part = rollout.rows(torch.tensor([row]))
        alone, _ = response_logprobs(model, part, 0.8)
        width = alone.shape[1]
        assert torch.allclose(alone[0], whole[row, :width], atol=1e-5)


def test_samples_follow_the_tempered_distribution(model: Any) -> None:
    """Frequencies of the first token over 4,000 draws against softmax(logits / T), by a χ² of the common tokens."""
    rollout = sample(
        model,
        [[5, 6, 7]] * 4000,
        pad_token_id=0,
        stop_token_id=-1,
        max_new_tokens=1,
        temperature=0.5,
        generator=torch.Generator().manual_seed(0),
        group=4000,
    )
    logits = model(torch.tensor([[5, 6, 7]])).logits[0, -1].float() / 0.5
    expected = torch.softmax(logits, -1) * 4000
    observed = torch.bincount(rollout.response_ids[:, 0], minlength=len(expected)).float()
    common = expected >= 5
    statistic = ((observed - expected) ** 2 / expected)[common].sum()
    degrees = int(common.sum())
    assert statistic < degrees + 4 * (2 * degrees) ** 0.5
