"""Assistants of recursive reward modelling on trees (recursive_reward.py): the questions of level k are trees of depth k, whose parts
the brackets show, and r_k is a small model, r_{k-1} trained on. Its answer to a part is the value that it rates highest of all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from tasks.oversight.protocol import Judge, Judgements, Question
from tasks.oversight.recursive_reward import assistants
from tasks.oversight.tree_helper import TreeHelper
from tasks.oversight.trees import questions as drawn

if TYPE_CHECKING:
    from tasks.oversight.distillation import Teaching
    from tasks.oversight.small_model import SmallModel


def tree_assistants(
    judge: Judge, untrained: SmallModel, teaching: Teaching, rng: np.random.Generator
) -> Iterator[SmallModel]:
    """r_1, r_2, … without end, each a model of its own. A question on which the judge cannot tell teaches nothing."""
    models, pairs, rejected = [untrained], [], []

    def learned(level: int, asked: list[Question], found: Judgements) -> TreeHelper:
        for question, first in zip(asked, found.log_odds, strict=True):
            if first != 0:
                better, worse = question.answers if first > 0 else question.answers[::-1]
                pairs.append((question.text, int(better)))
                rejected.append(int(worse))
        models.append(models[-1].copy())
        models[-1].learn(
            pairs,
            teaching.steps,
            batch=teaching.batch,
            learning_rate=teaching.learning_rate,
            seed=level,
            rejected=rejected,
        )
        return TreeHelper(models[-1])

    levels = assistants(judge, lambda level: drawn(untrained.kind, level, teaching.questions, rng), learned, rng)
    yield from (models[-1] for _ in levels)
