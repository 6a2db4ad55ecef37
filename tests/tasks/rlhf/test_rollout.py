"""Sampling: same seed same tokens, log-probabilities equal to a fresh pass, nothing after the end token."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.rlhf.models import load_causal_lm, new_reward_model
from tasks.rlhf.rollout import (
    Rollout,
    pad_left,
    response_both,
    response_logprobs,
    response_scores,
    response_values,
    sample,
    score_head,
    token_groups,
)
from tests.tasks.scored_alone import scored_alone

PROMPTS = [[5, 6, 7], [8, 9, 10, 11, 12, 13, 14], [15], [16, 17, 18, 19, 20]] * 4


@pytest.fixture(scope="module")
def model(tiny_model_folder: Path) -> Any:
    return load_causal_lm(tiny_model_folder).eval()


def draw(
    model: Any, prompts: list[list[int]] = PROMPTS, *, seed: int = 0, group: int = 32, stop: int = 1, **more: Any
) -> Rollout:
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
        **more,
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
    fresh = response_logprobs(model, rollout, 0.8)
    assert rollout.mask.sum(1).unique().numel() > 1
    assert (fresh - rollout.logprobs).abs().max() < 1e-5
    for row in range(4):  # and the ordinary way: one row alone, all logits
        prompt = rollout.prompt_ids[row][rollout.prompt_mask[row].bool()]
        answer = rollout.response_ids[row][rollout.mask[row].bool()]
        logits = model(torch.cat([prompt, answer])[None]).logits[0, len(prompt) - 1 : -1].float() / 0.8
        every = logits.log_softmax(-1)
        assert torch.allclose(every.gather(1, answer[:, None])[:, 0], fresh[row, : len(answer)], atol=1e-5)
        entropy = -(every.exp() * every).sum(-1)
        assert torch.allclose(entropy, rollout.entropy[row, : len(answer)], atol=1e-4)


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
    whole = response_logprobs(model, rollout, 0.8)
    for row in range(4):
        alone = response_logprobs(model, rollout.rows(torch.tensor([row])), 0.8)
        assert torch.allclose(alone[0], whole[row], atol=1e-5)


def test_a_prompt_of_several_responses_is_read_once(model: Any) -> None:
    read: list[int] = []
    hook = model.get_input_embeddings().register_forward_pre_hook(lambda _, given: read.append(given[0].numel()))
    rollout = draw(model)
    hook.remove()
    assert read[0] == sum(map(len, PROMPTS)) / 4  # each stands there four times
    alone = torch.cat([draw(model, [p]).response_ids for p in PROMPTS[:1]])
    assert torch.equal(rollout.response_ids[0], alone[0])


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


def test_values_while_sampling_equal_those_of_a_fresh_pass(model: Any) -> None:
    """One before each token, and one after the last, whether the answer ended or was cut."""
    torch.manual_seed(0)
    head = torch.nn.Linear(model.config.hidden_size, 1, bias=False)
    read = lambda hidden: head(hidden)[:, 0]  # noqa: E731
    stop = likely_stop(model)
    rollout = draw(model, stop=stop, value_head=read)
    assert rollout.ended.any() and not rollout.ended.all()
    assert torch.equal(rollout.values != 0, rollout.state_mask.bool())
    with torch.no_grad():
        assert torch.allclose(response_values(model, read, rollout), rollout.values, atol=1e-5)
        logprobs, values = response_both(model, read, rollout, 0.8)
    assert torch.allclose(values, rollout.values, atol=1e-5)
    assert torch.allclose(logprobs, rollout.logprobs, atol=1e-5)
    plain = draw(model, stop=stop)
    assert torch.equal(plain.response_ids, rollout.response_ids)


def test_scores_are_read_at_the_last_real_token(tiny_model_folder: Path, model: Any) -> None:
    reward_model = new_reward_model(tiny_model_folder, 0, 0).eval()
    reward_model.config.reward_offset = 0.75
    rollout = draw(model, stop=likely_stop(model))
    rows = [[*p, *r[m.bool()].tolist()] for p, r, m in zip(PROMPTS, rollout.response_ids, rollout.mask, strict=True)]
    with torch.no_grad():
        scores = response_scores(reward_model, score_head(reward_model), rollout)
        values = response_values(reward_model, score_head(reward_model), rollout)
    assert torch.allclose(scores, scored_alone(reward_model, rows), atol=1e-5)
    last = rollout.mask.sum(1).long()[:, None]  # a value model that starts from it values a whole response so
    assert torch.allclose(values.gather(1, last)[:, 0], scores, atol=1e-5)


@pytest.mark.parametrize("budget", [1, 10, 40, 1000])
def test_groups_hold_every_row_once_and_about_the_budget(budget: int) -> None:
    lengths = [3, 9, 4, 4, 12, 1, 7]
    groups = token_groups(lengths, budget)
    assert sorted(i for g in groups for i in g) == list(range(7))
    assert len(groups) == min(7, -(-sum(lengths) // budget))
    assert all(sum(lengths[i] for i in g) <= budget + max(lengths) for g in groups)
    flat = [lengths[i] for g in groups for i in g]
    assert flat == sorted(flat)


def test_queries_are_padded_on_the_left() -> None:
    ids, mask = pad_left([[5, 6], [7]], 0)
    assert (ids.tolist(), mask.tolist()) == ([[5, 6], [0, 7]], [[1, 1], [0, 1]])
