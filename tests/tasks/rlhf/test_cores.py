"""Groups of rows on several cores give what they give one after another, and leave nothing behind."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.rlhf.branches import continuation_logprobs, conversation_scores, conversation_states
from tasks.rlhf.cores import on_every_core
from tasks.rlhf.models import load_causal_lm, new_reward_model
from tasks.rlhf.rollout import score_head


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def rows(count: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randint(3, 60, (5 + i % 7,), generator=generator).tolist() for i in range(count)]


def test_scores_states_and_logprobs_are_those_of_one_core(tiny_model_folder: Path) -> None:
    reward = new_reward_model(tiny_model_folder, pad_token_id=0, seed=1).eval()
    model = load_causal_lm(tiny_model_folder).eval()
    items = [(row[:4], [row[4:], [*row[4:], 7]]) for row in rows(40)]

    def measured() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        scores = conversation_scores(reward, score_head(reward), rows(40), budget=20)
        logprobs = torch.tensor(continuation_logprobs(model, items, budget=20))
        return scores, conversation_states(reward, rows(40), budget=20), logprobs

    several = measured()
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    for found, expected in zip(several, measured(), strict=True):
        assert torch.equal(found, expected), "a group has the same bits whatever the number of cores"


def test_groups_meet_in_no_model_and_autocast_reaches_them(tiny_model_folder: Path) -> None:
    """Two at a time, each with a model of its own of the same weights, in order, in the precision that was asked for."""
    model = load_causal_lm(tiny_model_folder).eval()
    together = threading.Barrier(2, timeout=30)

    def work(own: Any, group: int) -> tuple[int, bool, bool, bool, int]:
        together.wait()
        shared = next(own.parameters()) is next(model.parameters())
        return id(own), shared, torch.is_autocast_enabled("cpu"), torch.is_grad_enabled(), group

    with torch.autocast("cpu", torch.bfloat16):
        found = list(on_every_core(model, range(6), work))
    assert [group for *_, group in found] == list(range(6))
    assert len({own for own, *_ in found}) == 2
    assert all(shared and lower and not gradients for _, shared, lower, gradients, _ in found)


def test_gradients_are_off_in_the_work_alone(tiny_model_folder: Path) -> None:
    torch.set_num_threads(1)
    for enabled in on_every_core(
        load_causal_lm(tiny_model_folder), range(2), lambda own, group: torch.is_grad_enabled()
    ):
        assert not enabled and torch.is_grad_enabled()


def test_an_error_reaches_the_caller_and_all_threads_come_back(tiny_model_folder: Path) -> None:
    def work(own: Any, group: int) -> int:
        if group == 1:
            raise ValueError("the second")
        return group

    with pytest.raises(ValueError, match="the second"):
        list(on_every_core(load_causal_lm(tiny_model_folder), range(8), work))
    assert torch.get_num_threads() == 2
    assert not [t for t in threading.enumerate() if t.name.startswith("ThreadPoolExecutor")]
