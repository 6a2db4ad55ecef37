"""Recursive reward modelling (Leike et al. 2018, "Scalable agent alignment via reward modeling"): whoever evaluates is assisted by what
was trained from the evaluations of the level below.

    level 1    the judge alone says which of two answers to the smallest questions is better; the reward model r_1 learns it
    level k    the judge reads for every part y of a question the statement y = argmax_v r_{k-1}(y, v), says which of two answers is
               better, and r_k learns it from these judgements and all of before

with Bradley and Terry's loss, -log σ(r(x, chosen) - r(x, rejected)). Where amplification learns answers, this learns from comparisons
alone, and from the judge's: what he gets wrong at a level every level above is built on. No right answer is read by anyone. What an
assistant is, and how it learns, is another file's: tree_assistants.py on trees, assistant.py for language models.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count

import numpy as np

from tasks.oversight.amplification import Amplification
from tasks.oversight.direct import Direct
from tasks.oversight.protocol import PARTS, Configured, Helper, Judge, Judgements, Participants, Question
from tasks.rlhf.processes import from_first

Learned = Callable[[int, list[Question], Judgements], Helper | None]


@dataclass(frozen=True)
class RecursiveReward:
    """The assistant takes the helper's place; at level 1 there is none, and the judge is alone."""

    def __call__(self, questions: Sequence[Question], people: Participants, rng: np.random.Generator) -> Judgements:
        """The judgement of every question, by what the assistant rates highest for its parts; nothing is drawn here."""
        if people.assistant is None:
            return Direct()(questions, people, rng)
        return Amplification(1)(questions, Participants(people.judge, helper=people.assistant), rng)


def assistants(
    judge: Judge, asked: Callable[[int], list[Question]], learned: Learned, rng: np.random.Generator
) -> Iterator[Helper | None]:
    """Those of level 1, 2, … without end; None while nobody has learned anything. `asked`: the questions of a level, which only the
    first process reads and judges; `learned`: the assistant after a level's judgements, for which all processes work."""
    assistant: Helper | None = None
    for level in count(1):
        people = Participants(judge, assistant=assistant)
        assistant = learned(level, *from_first(partial(_judged, asked, level, people, rng)))
        yield assistant


def _judged(
    asked: Callable[[int], list[Question]], level: int, people: Participants, rng: np.random.Generator
) -> tuple[list[Question], Judgements]:
    questions = asked(level)
    return questions, RecursiveReward()(questions, people, rng)


PROTOCOL = Configured(lambda _: RecursiveReward(), lambda _: [None] * PARTS, lambda asked: asked.turns)
