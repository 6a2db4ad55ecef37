"""Consultancy: one expert argues for an answer, which is as likely to be wrong as right, and nobody contradicts (Michael et al.
2023; Khan et al. 2024). What a debate has to beat: it has the same expert, the same judge, and as many turns.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.oversight.protocol import Case, Configured, Judgements, Participants, Question, after, expert_of


@dataclass(frozen=True)
class Consultancy:
    """`turns`: how often the consultant speaks. `sides`: for which answer, of every question; None: drawn, half for each."""

    turns: int
    sides: Sequence[int] | None = None

    def __call__(self, questions: Sequence[Question], people: Participants, rng: np.random.Generator) -> Judgements:
        """The judgement of every question, by what its consultant said."""
        expert = expert_of(people, "consultancy")
        sides = list(self.sides) if self.sides is not None else (rng.permutation(len(questions)) % 2).tolist()
        cases = [Case(q) for q in questions]
        for _ in range(self.turns):
            cases = after(cases, sides, expert.argue(cases, sides))
        return Judgements(people.judge.log_odds(cases), [case.transcript for case in cases])


PROTOCOL = Configured(lambda asked: Consultancy(asked.turns), lambda asked: [0] * asked.turns)
