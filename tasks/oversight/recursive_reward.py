"""Recursive reward modelling (Leike et al. 2018, "Scalable agent alignment via reward modeling"): whoever evaluates is assisted by what
was trained from the evaluations of the level below.

    level 1    the judge alone says which of two answers to a question of one step is better; the reward model r_1 learns it
    level k    the judge reads for every part y of a question of k steps the statement y = argmax_v r_{k-1}(y, v), says which of two
               answers is better, and r_k, which is r_{k-1} trained on, learns it from these judgements and all of before

with Bradley and Terry's loss, -log σ(r(x, chosen) - r(x, rejected)). Where amplification learns answers, this learns from comparisons
alone, and from the judge's: what he gets wrong at a level every level above is built on. No right answer is read by anyone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tasks.oversight.amplification import Amplification
from tasks.oversight.direct import Direct
from tasks.oversight.protocol import Judge, Judgements, Participants, Question
from tasks.oversight.tree_helper import TreeHelper
from tasks.oversight.trees import questions as drawn

if TYPE_CHECKING:
    from tasks.oversight.distillation import Teaching
    from tasks.oversight.small_model import SmallModel


@dataclass(frozen=True)
class RecursiveReward:
    """`assistant`: the reward model of the level below, which takes the helper's place; None at level 1, where the judge is alone."""

    assistant: SmallModel | None

    def __call__(self, questions: Sequence[Question], people: Participants, rng: np.random.Generator) -> Judgements:
        """The judgement of every question, by what the assistant rates highest for its parts; nothing is drawn here."""
        if self.assistant is None:
            return Direct()(questions, people, rng)
        assisted = Participants(people.judge, helper=TreeHelper(self.assistant))
        return Amplification(1)(questions, assisted, rng)


def assistants(
    judge: Judge, untrained: SmallModel, teaching: Teaching, rng: np.random.Generator
) -> Iterator[SmallModel]:
    """r_1, r_2, … without end, each a model of its own. A question on which the judge cannot tell teaches nothing."""
    model, pairs, rejected, level = untrained, [], [], 0
    while True:
        level += 1
        asked = drawn(model.kind, level, teaching.questions, rng)
        protocol = RecursiveReward(model if level > 1 else None)
        odds = protocol(asked, Participants(judge), rng).log_odds
        for question, first in zip(asked, odds, strict=True):
            if first != 0:
                better, worse = question.answers if first > 0 else question.answers[::-1]
                pairs.append((question.text, int(better)))
                rejected.append(int(worse))
        model = model.copy()
        model.learn(
            pairs,
            teaching.steps,
            batch=teaching.batch,
            learning_rate=teaching.learning_rate,
            seed=level,
            rejected=rejected,
        )
        yield model
