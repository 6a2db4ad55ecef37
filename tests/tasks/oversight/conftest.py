"""Questions on trees, and who takes part, with a judge who is exact to a depth and knows nothing beyond."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from tasks.oversight.protocol import Oversight, Participants, Question
from tasks.oversight.tree_expert import TreeExpert
from tasks.oversight.tree_judge import TreeJudge
from tasks.oversight.trees import ARITHMETIC, Kind, parsed, questions


@dataclass(frozen=True)
class ExactReader:
    """Right on trees to `depth`; beyond it, every value is as likely."""

    kind: Kind
    depth: int

    def log_probabilities(self, texts: Sequence[str]) -> np.ndarray:
        rows = np.full((len(texts), self.kind.values), 1 / self.kind.values)
        for row, text in zip(rows, texts, strict=True):
            tree = parsed(self.kind, text)
            if tree.depth <= self.depth:
                row[:] = 0.001 / (self.kind.values - 1)
                row[tree.value] = 0.999
        return np.log(rows)


@pytest.fixture
def asked() -> Callable[..., list[Question]]:
    return lambda depth, n=60, kind=ARITHMETIC: questions(kind, depth, n, np.random.default_rng(depth))


@pytest.fixture
def people() -> Callable[..., Participants]:
    def made(limit: int = 1, errors: float = 0.0, kind: Kind = ARITHMETIC) -> Participants:
        return Participants(TreeJudge(ExactReader(kind, limit)), TreeExpert(kind, errors, seed=1))

    return made


@pytest.fixture
def accuracy(people: Callable[..., Participants]) -> Callable[..., float]:
    def measured(protocol: Oversight, asked: list[Question], **who: float) -> float:
        found = protocol(asked, people(**who), np.random.default_rng(0))
        assert len(found.transcripts) == len(asked) == len(found.log_odds)
        return float(found.right(asked).mean())

    return measured
