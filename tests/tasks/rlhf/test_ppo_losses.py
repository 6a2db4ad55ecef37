"""The arithmetic of PPO against tables worked by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tasks.rlhf.ppo_losses import gae, masked_mean, masked_whiten, policy_loss, step_rewards, token_rewards, value_loss

MASK = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])


def test_gae_against_a_hand_worked_table() -> None:
    """γ = 0.9, λ = 0.5. Row 0: δ = (1 + .9·.4 − .5, 0 + .9·.3 − .4, 2 − .3) = (.86, −.13, 1.7);
    A₂ = 1.7, A₁ = −.13 + .45·1.7 = .635, A₀ = .86 + .45·.635 = 1.14575. Row 1 ends after one token: A₀ = 3 − .2."""
    rewards = torch.tensor([[1.0, 0.0, 2.0], [3.0, 9.0, 9.0]])
    values = torch.tensor([[0.5, 0.4, 0.3], [0.2, 7.0, 7.0]])
    advantages, returns = gae(rewards, values, MASK, 0.9, 0.5)
    assert torch.allclose(advantages, torch.tensor([[1.14575, 0.635, 1.7], [2.8, 0.0, 0.0]]))
    assert torch.allclose(returns, torch.tensor([[1.64575, 1.035, 2.0], [3.0, 0.0, 0.0]]))


def test_lambda_one_gives_discounted_returns() -> None:
    generator = torch.Generator().manual_seed(0)
    rewards, values = (torch.randn(4, 6, generator=generator) for _ in range(2))
    _, returns = gae(rewards, values, torch.ones(4, 6), 0.95, 1.0)
    expected = sum(0.95**t * rewards[:, t] for t in range(6))
    assert torch.allclose(returns[:, 0], expected, atol=1e-5)


def test_score_lands_one_past_the_last_token() -> None:
    kl = torch.tensor([[0.1, 0.2, 0.3], [0.5, 9.0, 9.0]])
    rewards = token_rewards(torch.tensor([1.0, -1.0]), kl, MASK, 0.1)
    assert torch.allclose(rewards, torch.tensor([[-0.01, -0.02, -0.03, 1.0], [-0.05, -1.0, 0.0, 0.0]]))


def test_rewards_of_steps_against_a_hand_worked_table() -> None:
    """w = .6. Row 0 has steps that end at the tokens 0 and 2: .6·.9/2 = .27, .6·.5/2 = .15; row 1 one: .6·.2 = .12. With β = .1
    and the scores 1 and −1 after the last tokens, the rewards of `test_score_lands_one_past_the_last_token` get these on top."""
    p = torch.tensor([[0.9, 0.8, 0.5], [0.2, 0.7, 0.7]])
    ends = torch.tensor([[1, 0, 1], [1, 0, 0]])
    steps = step_rewards(p, ends, 0.6)
    assert torch.allclose(steps, torch.tensor([[0.27, 0.0, 0.15, 0.0], [0.12, 0.0, 0.0, 0.0]]))
    kl = torch.tensor([[0.1, 0.2, 0.3], [0.5, 9.0, 9.0]])
    rewards = token_rewards(torch.tensor([1.0, -1.0]), kl, MASK, 0.1) + steps
    assert torch.allclose(rewards, torch.tensor([[0.26, -0.02, 0.12, 1.0], [0.07, -1.0, 0.0, 0.0]]))
    assert torch.equal(step_rewards(p[:1], torch.zeros(1, 3), 0.6), torch.zeros(1, 4))


def test_the_value_after_the_last_token_learns_the_score() -> None:
    """β = .1, γ = λ = 1, one token with a KL of .5, score 2, V = (.3, 1.2): δ₁ = 2 − 1.2 = .8, δ₀ = −.05 + 1.2 − .3."""
    rewards = token_rewards(torch.tensor([2.0]), torch.tensor([[0.5]]), torch.ones(1, 1), 0.1)
    advantages, returns = gae(rewards, torch.tensor([[0.3, 1.2]]), torch.ones(1, 2), 1.0, 1.0)
    assert torch.allclose(advantages, torch.tensor([[1.65, 0.8]]))
    assert torch.allclose(returns, torch.tensor([[1.95, 2.0]]))


@given(st.lists(st.floats(-5, 5), min_size=4, max_size=4), st.floats(-100, 100))
def test_padding_changes_no_mean(real: list[float], padding: float) -> None:
    values = torch.tensor([real[:3], [real[3], padding, padding]])
    assert float(masked_mean(values, MASK)) == pytest.approx(sum(real) / 4, abs=1e-5)


def test_whitening_is_masked_and_keeps_the_mean_when_told() -> None:
    values = torch.tensor([[1.0, 2.0, 3.0], [6.0, 999.0, 999.0]])
    white = masked_whiten(values, MASK)
    assert float(masked_mean(white, MASK)) == pytest.approx(0, abs=1e-6)
    assert float(masked_mean(white**2, MASK)) == pytest.approx(1, abs=1e-5)
    assert torch.equal(white[1, 1:], torch.zeros(2))
    assert float(masked_mean(masked_whiten(values, MASK, shift_mean=False), MASK)) == pytest.approx(3, abs=1e-5)


def test_policy_loss_clips_only_what_would_go_too_far() -> None:
    """Ratios 1.5 and 0.5, ε = 0.2. Gains are cut at 1.2·A and 0.8·A; losses are not cut."""
    logprobs = torch.tensor([[1.5, 0.5]]).log()
    old, mask = torch.zeros(1, 2), torch.ones(1, 2)
    up, ratio, clipped = policy_loss(logprobs, old, torch.tensor([[1.0, 1.0]]), mask, 0.2)
    assert torch.allclose(up, torch.tensor([[-1.2, -0.5]]))
    assert torch.equal(clipped, torch.tensor([[1.0, 0.0]]))
    down, _, _ = policy_loss(logprobs, old, torch.tensor([[-1.0, -1.0]]), mask, 0.2)
    assert torch.allclose(down, torch.tensor([[1.5, 0.8]]))
    assert torch.allclose(ratio, torch.tensor([[1.5, 0.5]]))


def test_losses_are_zero_on_padding() -> None:
    logprobs, old, mask = torch.tensor([[-1.0, -9.0]]), torch.tensor([[-2.0, -1.0]]), torch.tensor([[1.0, 0.0]])
    loss, ratio, clipped = policy_loss(logprobs, old, torch.tensor([[1.0, 5.0]]), mask, 0.2)
    assert float(loss[0, 1]) == 0.0 and float(ratio[0, 1]) == 1.0 and float(clipped[0, 1]) == 0.0
    assert float(value_loss(torch.tensor([[0.0, 5.0]]), old, old, mask, 0.2)[0, 1]) == 0.0


def test_value_loss_takes_the_worse_of_both() -> None:
    """V = 2, V_old = 1, R = 1.5, ε = 0.2: (2 − 1.5)² = .25 against (1.2 − 1.5)² = .09."""
    loss = value_loss(torch.tensor([[2.0]]), torch.tensor([[1.0]]), torch.tensor([[1.5]]), torch.ones(1, 1), 0.2)
    assert float(loss) == pytest.approx(0.125)
