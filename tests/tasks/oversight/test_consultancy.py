"""A consultant is believed, whichever answer he speaks for, where the judge cannot see what he left out."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from governance.errors import BadInput
from tasks.oversight.consultancy import Consultancy
from tasks.oversight.protocol import Participants


def test_a_wrong_answer_fools_the_judge_where_he_cannot_check(
    asked: Callable[..., Any], accuracy: Callable[..., Any]
) -> None:
    deep, shallow = asked(5), asked(2)
    assert accuracy(Consultancy(4, [int(q.correct == 1) for q in deep]), deep) == 1
    assert accuracy(Consultancy(4, [int(q.correct == 0) for q in deep]), deep) < 0.1
    assert (
        accuracy(Consultancy(4, [int(q.correct == 0) for q in shallow]), shallow) == 1
    )  # parts of depth 1 he reads himself


def test_sides_are_drawn_half_and_half(asked: Callable[..., Any], people: Callable[..., Participants]) -> None:
    found = Consultancy(2)(asked(4, 60), people(), np.random.default_rng(3))
    spoke = [{s.side for s in transcript} for transcript in found.transcripts]
    assert all(len(sides) == 1 for sides in spoke)
    assert spoke.count({0}) == spoke.count({1}) == 30


def test_needs_an_expert(asked: Callable[..., Any], people: Callable[..., Participants]) -> None:
    with pytest.raises(BadInput, match="consultancy needs an expert"):
        Consultancy(2)(asked(3), replace(people(), expert=None), np.random.default_rng(0))
