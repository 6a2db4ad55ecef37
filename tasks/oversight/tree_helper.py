"""A helper on trees: a written tree rests on its two parts, and a small model says what a question comes to. The parts need no model,
since brackets show them; whether an answer is right rests on the model alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.oversight.tree_judge import Reader
from tasks.oversight.trees import parsed


@dataclass(frozen=True)
class TreeHelper:
    """`reader`: the model that answers, by the value that it holds the likeliest."""

    reader: Reader

    def parts(self, texts: Sequence[str]) -> list[tuple[str, ...]]:
        """The two parts of each tree; () of a single step, whose parts are written down. Raises ValueError for no tree."""
        trees = [parsed(self.reader.kind, text) for text in texts]
        return [tuple(part.text for part in tree.parts) if tree.depth > 1 else () for tree in trees]

    def composed(self, texts: Sequence[str], parts: Sequence[Sequence[str]]) -> list[str]:
        """Of each question its value, read as it is written, or with the values in place of the parts that were stated."""
        read = [self._put_in(text, said) for text, said in zip(texts, parts, strict=True)]
        return [str(value) for value in self.reader.log_probabilities(read).argmax(axis=1)]

    def stated(self, text: str, answer: str) -> str:
        """`part=value`."""
        return f"{text}={answer}"

    def _put_in(self, text: str, said: Sequence[str]) -> str:
        if not said:
            return text
        tree, values = parsed(self.reader.kind, text), dict(statement.split("=") for statement in said)
        left, right = (values.get(part.text, part.text) for part in tree.parts)
        return f"({left}{tree.operation}{right})"
