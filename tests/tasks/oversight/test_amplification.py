"""A helper of one step, amplified, answers questions of as many steps as the levels it is given; what it errs at compounds."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from governance.errors import BadInput
from tasks.oversight.amplification import Amplification, amplified, statements
from tasks.oversight.direct import Direct
from tasks.oversight.protocol import Participants
from tasks.oversight.tree_helper import TreeHelper
from tasks.oversight.trees import ARITHMETIC, Kind, grown, questions
from tests.tasks.oversight.conftest import ExactReader


@pytest.fixture
def helped(people: Callable[..., Participants]) -> Callable[..., Participants]:
    """A judge of one step with a helper of `limit` steps."""
    return lambda limit=1: replace(people(), helper=TreeHelper(ExactReader(ARITHMETIC, limit)))


def right(protocol: Amplification, depth: int, people: Participants) -> float:
    asked = questions(ARITHMETIC, depth, 60, np.random.default_rng(depth))
    return float(protocol(asked, people, np.random.default_rng(0)).right(asked).mean())


def test_a_helper_no_better_than_the_judge_brings_depth_within_reach(helped: Callable[..., Participants]) -> None:
    assert right(Amplification(0), 3, helped()) == 0.5  # nothing is said: he cannot tell
    assert right(Amplification(1), 3, helped()) < 0.8  # parts of two steps are as far beyond the helper as beyond him
    assert right(Amplification(2), 3, helped()) == right(Amplification(4), 5, helped()) == 1
    assert right(Amplification(3), 5, helped(limit=2)) == 1  # a helper of two steps needs a level less


def test_the_judge_reads_a_statement_on_each_part_for_neither_side(
    helped: Callable[..., Participants], asked: Callable[..., Any]
) -> None:
    found = Amplification(2)(asked(3, 5), helped(), np.random.default_rng(0))
    for question, transcript in zip(asked(3, 5), found.transcripts, strict=True):
        parts = TreeHelper(ExactReader(ARITHMETIC, 1)).parts([question.text])[0]
        assert [s.side for s in transcript] == [None, None]
        assert tuple(s.text.split("=")[0] for s in transcript) == parts
    same = Amplification(0)(asked(2, 20), helped(), np.random.default_rng(0))
    assert np.array_equal(same.log_odds, Direct()(asked(2, 20), helped(), np.random.default_rng(0)).log_odds)


def test_needs_a_helper(asked: Callable[..., Any], people: Callable[..., Participants]) -> None:
    with pytest.raises(BadInput, match="amplification needs a helper"):
        Amplification(1)(asked(3), people(), np.random.default_rng(0))


@dataclass(frozen=True)
class Erring(TreeHelper):
    """Errs at a share of the steps, each on its own; counts what it is asked."""

    errors: float
    asked: list[str]

    def composed(self, texts: Sequence[str], parts: Sequence[Sequence[str]]) -> list[str]:
        self.asked.extend(texts)
        return [self._slipped(t, int(a)) for t, a in zip(texts, super().composed(texts, parts), strict=True)]

    def _slipped(self, text: str, value: int) -> str:
        draw = np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big"))
        slip = draw.integers(1, self.reader.kind.values) if draw.random() < self.errors else 0
        return str((value + slip) % self.reader.kind.values)


def test_errors_compound_with_the_steps() -> None:
    sums = Kind("sums", 10, {o: ARITHMETIC.operations[o] for o in "+-"})  # no product in which an error could vanish
    draw, errors = np.random.default_rng(0), 0.05
    for depth in (2, 3, 4):
        trees = [grown(sums, depth, draw) for _ in range(600)]
        answers = amplified(Erring(ExactReader(sums, 1), errors, []), [t.text for t in trees], depth)
        share = np.mean([int(a) == t.value for a, t in zip(answers, trees, strict=True)])
        steps = 2**depth - 1
        # Of n independent slips, uniform over the nine other digits, some cancel: p^n is what is left without that.
        expected = (1 + 9 * (1 - errors * 10 / 9) ** steps) / 10
        assert (1 - errors) ** steps <= expected
        assert abs(share - expected) < 3 * np.sqrt(expected * (1 - expected) / 600)


def test_a_part_is_asked_once_and_a_step_is_not_taken_apart() -> None:
    helper = Erring(ExactReader(ARITHMETIC, 1), 0, [])
    said = statements(helper, ["((1+2)*(1+2))", "((1+2)-(3+4))", "(5+5)"], 3)
    assert said == [("(1+2)=3", "(1+2)=3"), ("(1+2)=3", "(3+4)=7"), ()]
    assert helper.asked == ["(1+2)", "(3+4)"]
