"""A debate leads a judge of one step to the truth of a deep question, if it is given the turns, and honest experts who know."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pytest

from governance.errors import BadInput
from tasks.oversight.debate import Debate, quoted
from tasks.oversight.direct import Direct
from tasks.oversight.protocol import Case, Participants, Statement
from tasks.oversight.tree_expert import TreeExpert
from tasks.oversight.trees import ARITHMETIC, LOGIC, parsed


@pytest.mark.parametrize("order", ["simultaneous", "in turns"])
def test_the_right_side_wins_at_depth_five_where_the_judge_alone_is_at_chance(
    order: str, asked: Callable[..., Any], accuracy: Callable[..., Any]
) -> None:
    assert accuracy(Direct(), asked(5)) == 0.5
    assert accuracy(Debate(4, order), asked(5)) == 1  # type: ignore[arg-type]
    assert accuracy(Debate(4, order), asked(5, kind=LOGIC), kind=LOGIC) == 1  # type: ignore[arg-type]


def test_fewer_turns_than_steps_leave_the_judge_before_what_he_cannot_read(
    asked: Callable[..., Any], accuracy: Callable[..., Any]
) -> None:
    assert accuracy(Debate(3), asked(5, 100)) < 0.8
    assert accuracy(Debate(3), asked(5, 100), limit=2) == 1  # a judge of two steps needs a turn less


def test_experts_who_err_lose_and_quotes_alone_do_not_lead_far(
    asked: Callable[..., Any], accuracy: Callable[..., Any]
) -> None:
    few, many = (accuracy(Debate(4), asked(5, 100), errors=errors) for errors in (0.05, 0.3))
    assert many < few < 1
    assert accuracy(Debate(4, quotes=5), asked(2)) == 1  # he reads the parts that were pointed at
    assert accuracy(Debate(4, quotes=5), asked(5)) < 0.8


class Listener:
    """Says how many statements it had heard."""

    def argue(self, cases: Sequence[Case], sides: Sequence[int]) -> list[tuple[str, ...]]:
        return [(f"{side} heard {len(case.transcript)}",) for case, side in zip(cases, sides, strict=True)]


def test_who_hears_whom_follows_from_the_order_and_who_begins_is_drawn(
    asked: Callable[..., Any], people: Callable[..., Any]
) -> None:
    class Mute:
        def log_odds(self, cases: Sequence[Case]) -> np.ndarray:
            return np.zeros(len(cases))

    heard = {}
    for order in ("simultaneous", "in turns"):
        found = Debate(2, order)(asked(3), Participants(Mute(), Listener()), np.random.default_rng(0))
        heard[order] = [[s.text.split(" heard ")[1] for s in transcript] for transcript in found.transcripts]
        assert {transcript[0].side for transcript in found.transcripts} == {0, 1}
        assert all([s.side for s in t][2:] == [s.side for s in t][:2] for t in found.transcripts)
    assert heard["simultaneous"] == [["0", "0", "2", "2"]] * 60
    assert heard["in turns"] == [["0", "1", "2", "3"]] * 60


def test_quotes_are_what_the_question_has_word_for_word(asked: Callable[..., Any], people: Callable[..., Any]) -> None:
    case = Case(asked(2)[0], (Statement(1, f"see {asked(2)[0].text[1:6]}, so 7"), Statement(0, "trust me")))
    assert quoted(case, 5).transcript == (Statement(1, asked(2)[0].text[1:6]),)
    with pytest.raises(BadInput, match="debate needs an expert"):
        Debate(2)(asked(3), replace(people(), expert=None), np.random.default_rng(0))


@dataclass(frozen=True)
class Evasive:
    """Honest for the right answer; for the wrong one it opens the question, and then evades the dispute."""

    honest: TreeExpert
    evasion: str

    def argue(self, cases: Sequence[Case], sides: Sequence[int]) -> list[tuple[str, ...]]:
        return [self._said(case, side) for case, side in zip(cases, sides, strict=True)]

    def _said(self, case: Case, side: int) -> tuple[str, ...]:
        spoke = [s.text for s in case.transcript if s.side == side]
        if side == case.question.correct or not spoke:
            return self.honest.argue([case], [side])[0]
        root = parsed(self.honest.kind, case.question.text)
        part = next(
            (p for p in root.parts if f"{p.text}={p.value}" in spoke), root.parts[0]
        )  # what both sides agree on
        if self.evasion == "silent" or any(text.startswith(f"{part.parts[0].text}=") for text in spoke):
            return ()
        shift = 1 if self.evasion == "smears what is agreed" else 0
        values = self.honest.defended(part, (part.value + shift) % self.honest.kind.values, side)
        return tuple(f"{p.text}={value}" for p, value in zip(part.parts, values, strict=True))


@pytest.mark.parametrize("evasion", ["silent", "opens what is agreed", "smears what is agreed"])
@pytest.mark.parametrize("order", ["simultaneous", "in turns"])
def test_a_liar_gains_nothing_by_evading_the_dispute(
    order: Literal["simultaneous", "in turns"], evasion: str, asked: Callable[..., Any], people: Callable[..., Any]
) -> None:
    expert = Evasive(TreeExpert(ARITHMETIC), evasion)
    questions = asked(5)
    found = Debate(4, order)(questions, replace(people(), expert=expert), np.random.default_rng(0))
    assert found.right(questions).mean() == 1
