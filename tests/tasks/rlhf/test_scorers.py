"""Ensembles of scorers, and where the steps of a response end, by hand-worked values."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tasks.rlhf.encoding import stop_token_id
from tasks.rlhf.ensembles import mean, mean_minus_variance, worst_case
from tasks.rlhf.models import load_tokenizer
from tasks.rlhf.process_reward import encode_solutions, new_process_model, step_probabilities
from tasks.rlhf.rollout import Rollout, pad_left
from tasks.rlhf.scorers import ensemble, newline_tokens, step_ends, step_scorer

MEMBERS = ([1.0, 4.0], [3.0, 4.0], [2.0, 1.0])


@pytest.mark.parametrize(
    ("combine", "expected"),
    [(mean, [2.0, 3.0]), (worst_case, [1.0, 1.0]), (mean_minus_variance(0.5), [2 - 1 / 3, 2.0])],
)
def test_members_are_combined(combine: Any, expected: list[float]) -> None:
    scorers = [lambda _, scores=member: torch.tensor(scores) for member in MEMBERS]
    scores = ensemble(scorers, combine)(None)  # type: ignore[arg-type]
    assert torch.allclose(scores, torch.tensor(expected))


def rollout_of(prompts: list[list[int]], responses: list[list[int]], ended: list[bool]) -> Rollout:
    width = max(map(len, responses))
    ids = torch.tensor([r + [0] * (width - len(r)) for r in responses])
    mask = torch.tensor([[1.0] * len(r) + [0.0] * (width - len(r)) for r in responses])
    zeros = torch.zeros_like(mask)
    values = torch.zeros(len(responses), width + 1)
    return Rollout(*pad_left(prompts, 0), ids, mask, zeros, zeros, values, torch.tensor(ended))


def test_a_step_ends_with_its_line_or_the_response() -> None:
    """5 is a newline, 6 ends with one, 1 is the stop token; the third answer was cut short, the last by a newline."""
    newline = torch.tensor([0, 0, 0, 0, 0, 1, 1, 0], dtype=torch.bool)
    responses = [[7, 5, 7, 7, 1], [7, 6, 5, 7, 1], [7, 5, 7], [5, 1], [7, 5], [99, 1]]
    ends = step_ends(rollout_of([[3]] * 6, responses, [True, True, False, True, False, True]), newline)
    assert ends.int().tolist() == [
        [0, 1, 0, 0, 1],
        [0, 0, 1, 0, 1],  # an empty line earns nothing
        [0, 1, 1, 0, 0],
        [0, 1, 0, 0, 0],  # nor does a newline before the end
        [0, 1, 0, 0, 0],
        [0, 1, 0, 0, 0],  # of a spare row of the vocabulary
    ]


def test_steps_of_a_response_are_scored_as_steps_of_a_solution(tiny_model_folder: Path) -> None:
    tokenizer, model = load_tokenizer(tiny_model_folder), new_process_model(tiny_model_folder, 0, seed=3)
    newline = newline_tokens(tokenizer)
    assert [tokenizer.decode(i) for i in newline.nonzero()[:, 0]] and all(
        "\n" in tokenizer.decode(i) for i in newline.nonzero()[:, 0]
    )
    solutions = [["One and one.", "So two."], ["No idea at all", "Really", "none."], ["Three."]]
    prompts = [[{"role": "user", "content": text}] for text in ("How many?", "Why?", "And then, what is it?")]
    rows = encode_solutions(tokenizer, prompts, solutions, stop_token_id(tokenizer))
    rollout = rollout_of([r.ids[: r.start] for r in rows], [r.ids[r.start :] for r in rows], [True] * 3)
    with torch.no_grad():
        probabilities, ends = step_scorer(model, tokenizer)(rollout)
    found = step_probabilities(model, rows, 0)
    for n, row in enumerate(rows):
        assert ends[n].nonzero()[:, 0].tolist() == [at - row.start for at in row.ends]
        assert np.allclose(probabilities[n][ends[n]].numpy(), found[n], atol=1e-5)
