"""Questions whose truth is known and whose depth is chosen: generated trees of arithmetic (digits, modulo ten) and of logic
(bits). Every tree of depth d is full: 2^d leaves, d steps from the leaves to the root. SIMULATED: nobody asked them.

A tree is written with every operation in brackets, `((3+4)*(2-9))`, so that each part of the text is a question of its own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np

from tasks.oversight.protocol import Question

Operation = Callable[[int, int], int]


@dataclass(frozen=True)
class Kind:
    """A kind of tree: how many values a leaf can have, and what joins two parts."""

    name: str
    values: int
    operations: Mapping[str, Operation] = field(hash=False)


ARITHMETIC = Kind(
    "arithmetic",
    10,
    {"+": lambda a, b: (a + b) % 10, "-": lambda a, b: (a - b) % 10, "*": lambda a, b: (a * b) % 10},
)
LOGIC = Kind("logic", 2, {"&": lambda a, b: a & b, "|": lambda a, b: a | b, "^": lambda a, b: a ^ b})
KINDS = {kind.name: kind for kind in (ARITHMETIC, LOGIC)}


@dataclass(frozen=True)
class Tree:
    """A leaf with its value, or an operation on two trees."""

    kind: Kind
    leaf: int | None = None
    operation: str = ""
    parts: tuple["Tree", ...] = ()

    @cached_property
    def text(self) -> str:
        """The tree in writing."""
        if self.leaf is not None:
            return str(self.leaf)
        left, right = self.parts
        return f"({left.text}{self.operation}{right.text})"

    @cached_property
    def value(self) -> int:
        """What it comes to."""
        if self.leaf is not None:
            return self.leaf
        left, right = self.parts
        return self.kind.operations[self.operation](left.value, right.value)

    @cached_property
    def depth(self) -> int:
        """Operations between the deepest leaf and the root."""
        return 0 if self.leaf is not None else 1 + max(part.depth for part in self.parts)


def grown(kind: Kind, depth: int, rng: np.random.Generator) -> Tree:
    """A full tree of that depth, drawn uniformly."""
    if depth == 0:
        return Tree(kind, leaf=int(rng.integers(kind.values)))
    operation = str(rng.choice(list(kind.operations)))
    return Tree(kind, operation=operation, parts=(grown(kind, depth - 1, rng), grown(kind, depth - 1, rng)))


@lru_cache(maxsize=1 << 16)
def parsed(kind: Kind, text: str) -> Tree:
    """The tree that a text writes. Raises ValueError for a text that writes none."""
    tree, end = _parsed(kind, text, 0)
    if end != len(text):
        raise ValueError(f"{text}: ends at character {end + 1}, before its last")
    return tree


def _parsed(kind: Kind, text: str, start: int) -> tuple[Tree, int]:
    if start < len(text) and text[start].isdecimal() and int(text[start]) < kind.values:
        return Tree(kind, leaf=int(text[start])), start + 1
    if start >= len(text) or text[start] != "(":
        raise ValueError(f"{text}: no value and no bracket at character {start + 1}")
    left, at = _parsed(kind, text, start + 1)
    if at >= len(text) or text[at] not in kind.operations:
        raise ValueError(f"{text}: no operation at character {at + 1}")
    right, end = _parsed(kind, text, at + 1)
    if end >= len(text) or text[end] != ")":
        raise ValueError(f"{text}: no closing bracket at character {end + 1}")
    return Tree(kind, operation=text[at], parts=(left, right)), end + 1


def questions(kind: Kind, depth: int, n: int, rng: np.random.Generator) -> list[Question]:
    """`n` questions of that depth: the value of a tree against another value, the right one first in half of them by chance."""
    asked = []
    for _ in range(n):
        tree = grown(kind, depth, rng)
        other = int((tree.value + rng.integers(1, kind.values)) % kind.values)
        correct = int(rng.integers(2))
        answers = (str(tree.value), str(other)) if correct == 0 else (str(other), str(tree.value))
        asked.append(Question(tree.text, answers, correct, depth))
    return asked
