"""A judge of trees: a small model reads the question and every part that was spoken of, and what was stated of the parts is weighed
with what the judge reads himself. He reads little, but where a step's parts are stated the step is a question of depth one.

Of a part X with values u, bottom up:

    belief(u) ∝ reading(u) · ∏ over the statements "X=v" of (trust if u = v, else (1 − trust) / (values − 1))
    reading(u) = Σ over values (a, b) of X's parts of belief(a) belief(b) P(u | "(a op b)")    if both parts were spoken of
               = P(u | X as it is written)                                                     otherwise

so that two sides that disagree cancel out, a word that nobody disputes counts unless the judge himself reads otherwise, and an answer
that follows from what its side said is believed no further than that is. The log-odds are those of the root's reading: that an
answer is claimed says nothing for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Protocol

import numpy as np

from tasks.oversight.protocol import Case
from tasks.oversight.trees import Kind, Tree, parsed

Claims = dict[str, dict[int | None, str]]
Probabilities = dict[str, np.ndarray]
TINY = 1e-300  # so that nothing is ruled out, and no logarithm is infinite


class Reader(Protocol):
    """What reads a written tree: a small model (tasks/oversight/small_model.py)."""

    @property
    def kind(self) -> Kind:
        """Of the trees that it reads."""
        ...

    def log_probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """(n, values): log P(value | text)."""
        ...


@dataclass(frozen=True)
class TreeJudge:
    """`trust`: how probably one statement is right, before anything is read; an assumption, not learned."""

    reader: Reader
    trust: float = 0.9

    def log_odds(self, cases: Sequence[Case]) -> np.ndarray:
        """(n,) nats, that the first answer is the right one."""
        trees = [parsed(self.reader.kind, case.question.text) for case in cases]
        claims = [spoken_of(case) for case in cases]
        pairs = list(product(range(self.reader.kind.values), repeat=2))
        asked = {f"({a}{operation}{b})" for operation in self.reader.kind.operations for a, b in pairs}
        asked |= {part.text for tree, said in zip(trees, claims, strict=True) for part in _unopened(tree, said)}
        texts = sorted(asked)
        read = dict(zip(texts, np.exp(self.reader.log_probabilities(texts)), strict=True))
        steps = {o: np.array([read[f"({a}{o}{b})"] for a, b in pairs]) for o in self.reader.kind.operations}
        odds = []
        for case, tree, said in zip(cases, trees, claims, strict=True):
            reading = np.log(self._reading(tree, said, read, steps) + TINY)
            first, second = (int(answer) for answer in case.question.answers)
            odds.append(reading[first] - reading[second])
        return np.array(odds)

    def _reading(self, tree: Tree, said: Claims, read: Probabilities, steps: Probabilities) -> np.ndarray:
        """(values,) P(value), without the statements on the tree itself; `steps` (values², values) by operation."""
        if not _opened(tree, said):
            return read[tree.text]
        left, right = (self._belief(part, said, read, steps) for part in tree.parts)
        return np.outer(left, right).ravel() @ steps[tree.operation]

    def _belief(self, tree: Tree, said: Claims, read: Probabilities, steps: Probabilities) -> np.ndarray:
        """(values,) P(value), with the statements."""
        belief = self._reading(tree, said, read, steps) + TINY
        for value in said[tree.text].values():
            if value:
                doubt = np.full(len(belief), (1 - self.trust) / (len(belief) - 1))
                doubt[int(value)] = self.trust
                belief = belief * doubt
        return belief / belief.sum()


def _opened(tree: Tree, said: Claims) -> bool:
    return bool(tree.parts) and all(part.text in said for part in tree.parts)


def _unopened(tree: Tree, said: Claims) -> list[Tree]:
    """The parts that have to be read as they are written."""
    return [found for part in tree.parts for found in _unopened(part, said)] if _opened(tree, said) else [tree]


def spoken_of(case: Case) -> Claims:
    """{part: {side: value}} of the transcript, a side's last word on a part; the value of a part that was only quoted is ""."""
    claims: Claims = {}
    for statement in case.transcript:
        part, _, value = statement.text.partition("=")
        claims.setdefault(part, {})[statement.side] = value
    return claims
