"""Debate: two experts argue for the two answers before a judge who knows less (Irving et al. 2018).

It rests on a wrong answer having a wrong step somewhere, to which the other side can lead the judge: with as many turns as it takes
to get there, he has to judge no more than that step.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

import numpy as np

from tasks.oversight.protocol import (
    Case,
    Configured,
    Expert,
    Judgements,
    Participants,
    Question,
    Statement,
    after,
    expert_of,
)


@dataclass(frozen=True)
class Debate:
    """`turns`: how often each side speaks. `order`: both at once, unseen by each other until the next turn; or one after the other, who
    begins being drawn for every question. `quotes`: 0, the judge reads the transcript; n: only what it quotes, that is passages
    of at least n characters that stand in the question word for word."""

    turns: int
    order: Literal["simultaneous", "in turns"] = "simultaneous"
    quotes: int = 0

    def __call__(self, questions: Sequence[Question], people: Participants, rng: np.random.Generator) -> Judgements:
        """The judgement of every question, by what both sides said."""
        expert = expert_of(people, "debate")
        begins = rng.integers(2, size=len(questions))
        cases = [Case(q) for q in questions]
        for _ in range(self.turns):
            cases = self._turn(expert, cases, begins)
        if self.quotes:
            cases = [quoted(case, self.quotes) for case in cases]
        return Judgements(people.judge.log_odds(cases), [case.transcript for case in cases])

    def _turn(self, expert: Expert, cases: list[Case], begins: np.ndarray) -> list[Case]:
        """Both sides once; `begins` (n,): whose words stand first."""
        heard = cases
        for sides in (begins.tolist(), (1 - begins).tolist()):
            cases = after(cases, sides, expert.argue(heard if self.order == "simultaneous" else cases, sides))
        return cases


def quoted(case: Case, least: int) -> Case:
    """The case with nothing left of its transcript but the passages of at least `least` characters that its question has, too."""
    kept = []
    for said in case.transcript:
        blocks = SequenceMatcher(None, said.text, case.question.text, autojunk=False).get_matching_blocks()
        kept += [Statement(said.side, said.text[b.a : b.a + b.size].strip()) for b in blocks if b.size >= least]
    return Case(case.question, tuple(kept))


PROTOCOL = Configured(lambda asked: Debate(asked.turns, asked.order, asked.quotes), lambda asked: [0, 1] * asked.turns)
