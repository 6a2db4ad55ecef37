"""An expert on trees who argues for any answer as well as can be. SIMULATED: a program that is given the tree, no model and no person.

For the answer that it was given it always tells the same kind of story: it opens a part that matters, that is, it states values of
both parts of it from which the value that it defends follows, departing from what it knows as little as that needs. In a debate the
part that matters is the deepest one on which the sides disagree; where nobody answers it is a part that bears being looked at: one
of whose value it tells what it knows. So right and wrong answers are argued for by the same rule, and look the same.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from tasks.oversight.protocol import Case
from tasks.oversight.trees import Kind, Tree, parsed


@dataclass(frozen=True)
class TreeExpert:
    """`errors`: share of the parts (leaves excepted, they are written down) of which it knows another value than the true one, each
    on its own; the same on both sides of a debate, since one expert speaks for both. `seed` draws these and, among ways to defend
    a value that are equally good, the one that is taken."""

    kind: Kind
    errors: float = 0.0
    seed: int = 0

    def argue(self, cases: Sequence[Case], sides: Sequence[int]) -> list[tuple[str, ...]]:
        """Two statements "part=value" a case, on the parts of the part that is opened; () where none is left that a step does not
        settle."""
        return [self._next(case, side) for case, side in zip(cases, sides, strict=True)]

    def known(self, tree: Tree) -> int:
        """What it takes the tree's value to be."""
        if tree.depth and self.errors:
            draw = self._draw("known", tree.text)
            if draw.random() < self.errors:
                return int((tree.value + draw.integers(1, self.kind.values)) % self.kind.values)
        return tree.value

    def defended(self, tree: Tree, value: int, side: int) -> tuple[int, int]:
        """Values of the tree's two parts from which `value` follows, as few of them as can be other than it knows."""
        left, right = (self.known(part) for part in tree.parts)
        step = self.kind.operations[tree.operation]
        if step(left, right) == value:
            return left, right
        ways = [(a, b) for a, b in product(range(self.kind.values), repeat=2) if step(a, b) == value]
        best = [way for way in ways if way[0] == left or way[1] == right] or ways
        return best[int(self._draw("defended", tree.text, str(value), str(side)).integers(len(best)))]

    def _next(self, case: Case, side: int) -> tuple[str, ...]:
        own, other = _stated(case, side), _stated(case, 1 - side)
        part: Tree | None = parsed(self.kind, case.question.text)
        value = int(case.question.answers[side])
        while part is not None and part.depth > 1:
            if any(p.text not in own for p in part.parts):
                values = self.defended(part, value, side)
                return tuple(f"{p.text}={v}" for p, v in zip(part.parts, values, strict=True))
            part = self._into(part, own, other, side)
            value = own[part.text] if part else value
        return ()

    def _into(self, part: Tree, own: dict[str, int], other: dict[str, int], side: int) -> Tree | None:
        """Which of an opened part's two is looked at next."""
        if other:
            disputed = [p for p in part.parts if p.text in other and other[p.text] != own[p.text]]
            return disputed[0] if disputed else None
        told = [p for p in part.parts if own[p.text] == self.known(p)] or list(part.parts)
        return told[int(self._draw("into", part.text, str(side)).integers(len(told)))]

    def _draw(self, *names: str) -> np.random.Generator:
        digest = hashlib.sha256(" ".join((str(self.seed), *names)).encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def _stated(case: Case, side: int) -> dict[str, int]:
    said = (s.text.partition("=") for s in case.transcript if s.side == side)
    return {part: int(value) for part, _, value in said}
