"""Amplification: a helper answers the parts of the question, by their parts in turn, and the judge has to put together no more than
the answers on the question's own parts (Christiano et al. 2018, "Supervising strong learners by amplifying weak experts"):

    A_0(x) = the helper's answer to x at once
    A_d(x) = what the helper composes of the statements y = A_{d-1}(y) on the parts y of x

A judgement by Amplification(d) reads the statements y = A_{d-1}(y). One who errs at a share 1 - p of the steps is right on all n steps
of a question with p^n: decomposition brings depth within reach, not certainty. What is learned from these answers is another
file's (distillation.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.oversight.protocol import (
    PARTS,
    Case,
    Configured,
    Helper,
    Judgements,
    Participants,
    Question,
    Statement,
    helper_of,
)


@dataclass(frozen=True)
class Amplification:
    """`depth`: levels of parts; at 1 the helper answers the question's parts at once, at 0 nothing is said."""

    depth: int

    def __call__(self, questions: Sequence[Question], people: Participants, rng: np.random.Generator) -> Judgements:
        """The judgement of every question, by the statements on its parts; nothing is drawn here."""
        said = statements(helper_of(people, "amplification"), [q.text for q in questions], self.depth)
        cases = [Case(q, tuple(Statement(None, text) for text in s)) for q, s in zip(questions, said, strict=True)]
        return Judgements(people.judge.log_odds(cases), [case.transcript for case in cases])


def amplified(helper: Helper, texts: Sequence[str], depth: int) -> list[str]:
    """A_depth of each question."""
    return helper.composed(texts, statements(helper, texts, depth))


def statements(helper: Helper, texts: Sequence[str], depth: int) -> list[tuple[str, ...]]:
    """Of each question y = A_{depth-1}(y) on its parts; () at depth 0, and of a question without parts. A part of several
    questions is answered once."""
    if depth == 0:
        return [()] * len(texts)
    parts = helper.parts(texts)
    different = list(dict.fromkeys(part for found in parts for part in found))
    if not different:
        return [()] * len(texts)
    answers = dict(zip(different, amplified(helper, different, depth - 1), strict=True))
    return [tuple(helper.stated(part, answers[part]) for part in found) for found in parts]


PROTOCOL = Configured(lambda asked: Amplification(asked.turns), lambda _: [None] * PARTS)
