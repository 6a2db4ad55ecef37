"""Amplification that is distilled, and repeated: iterated amplification (Christiano et al. 2018). A model that was taught what a person
can label learns its own amplified answers to questions a step deeper, and so becomes a helper for questions deeper still:

    X_0     = taught from labels of trees to depth `taught`
    X_k     = X_{k-1} trained on (x, A_1[X_{k-1}](x)), x of depth taught + k, and on all pairs of before

As in the authors' code the parts are answered by a copy that does not move while its student learns, and questions get deeper only
round by round. What was learned before stays in the training set: the labels, and every round's pairs, are drawn equally often, as a
helper who forgets the single step errs at every step. No label is used but the first ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import TYPE_CHECKING

import numpy as np

from tasks.oversight.amplification import amplified
from tasks.oversight.tree_helper import TreeHelper
from tasks.oversight.trees import grown

if TYPE_CHECKING:
    from tasks.oversight.small_model import SmallModel

Pair = tuple[str, int]


@dataclass(frozen=True)
class Teaching:
    """How a round is trained: on `questions` new trees, for `steps` steps of `batch` texts."""

    questions: int
    steps: int
    batch: int = 128
    learning_rate: float = 3e-3


def distilled(
    model: SmallModel,
    labels: Sequence[Pair],
    taught: int,
    teaching: Teaching,
    rng: np.random.Generator,
) -> Iterator[SmallModel]:
    """X_1, X_2, … without end, each a model of its own. `model`: X_0, trained on `labels`."""
    pairs, depth = list(islice(cycle(labels), teaching.questions)), taught
    while True:
        depth += 1
        texts = [grown(model.kind, depth, rng).text for _ in range(teaching.questions)]
        answers = amplified(TreeHelper(model), texts, 1)
        pairs += [(text, int(answer)) for text, answer in zip(texts, answers, strict=True)]
        model = model.copy()
        model.learn(pairs, teaching.steps, batch=teaching.batch, learning_rate=teaching.learning_rate, seed=depth)
        yield model
