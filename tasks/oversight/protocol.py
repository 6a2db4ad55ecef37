"""What every oversight protocol shares: a question with two answers, a transcript of what was said for them, and a judge who
reads it. A protocol is one file of this folder and one callable: it decides who speaks, when, and what the judge gets to see.
`oversight.protocol` of params.yaml names the file, whose `PROTOCOL` says how its settings make that callable.

Protocols differ in nothing else, so that their figures compare: the same questions, the same judge, the same experts. An expert
knows more than the judge and argues for the answer that it is given, right or wrong; a helper answers parts of the question and
takes no side.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

import numpy as np

from governance.errors import BadInput
from tasks.training_params import Oversight as Settings

PARTS = 3  # smaller questions of one that a helper writes, at most


@dataclass(frozen=True)
class Question:
    """Two answers of which one is right. `correct` (0 or 1; None: nobody knows) is for the figures: no participant but a declared
    simulated expert reads it. `depth`: steps that it takes from what is given to the answer."""

    text: str
    answers: tuple[str, str]
    correct: int | None
    depth: int


@dataclass(frozen=True)
class Statement:
    """What was said. `side`: the answer that it speaks for, 0 or 1; None: a helper's, for neither."""

    side: int | None
    text: str


@dataclass(frozen=True)
class Case:
    """What a judge or an expert has before it: the question, and what was said so far, oldest first."""

    question: Question
    transcript: tuple[Statement, ...] = ()


class Judge(Protocol):
    """Weighs two answers by what it reads; never by `Question.correct`."""

    def log_odds(self, cases: Sequence[Case]) -> np.ndarray:
        """(n,) float: that the first answer is the right one, in nats."""
        ...


class Expert(Protocol):
    """Argues for the answer that it is given."""

    def argue(self, cases: Sequence[Case], sides: Sequence[int]) -> list[tuple[str, ...]]:
        """Of each case what is said next for the answer sides[i], a text a statement; () where nothing is left to say."""
        ...


class Helper(Protocol):
    """Answers what a question is made of."""

    def parts(self, texts: Sequence[str]) -> list[tuple[str, ...]]:
        """Of each question the smaller ones that it rests on, at most `PARTS`; () where it is as small as can be."""
        ...

    def composed(self, texts: Sequence[str], parts: Sequence[Sequence[str]]) -> list[str]:
        """Of each question its answer, from the statements on its parts; without any, at once."""
        ...

    def stated(self, text: str, answer: str) -> str:
        """The statement that the answer to a question is this one."""
        ...


@dataclass(frozen=True)
class Participants:
    """Who takes part; a protocol refuses, by BadInput, to go on without one whom it needs."""

    judge: Judge
    expert: Expert | None = None
    helper: Helper | None = None
    assistant: Helper | None = None  # one that learned from the judge's choices; None: nobody did yet


def expert_of(people: Participants, protocol: str) -> Expert:
    """The expert. Raises BadInput where a protocol that needs one has none."""
    if people.expert is None:
        raise BadInput(f"oversight: {protocol} needs an expert, and none takes part; name one, or judge directly")
    return people.expert


def helper_of(people: Participants, protocol: str) -> Helper:
    """The helper. Raises BadInput where a protocol that needs one has none."""
    if people.helper is None:
        raise BadInput(f"oversight: {protocol} needs a helper, and none takes part; name one, or judge directly")
    return people.helper


def after(cases: Sequence[Case], sides: Sequence[int], said: Sequence[Sequence[str]]) -> list[Case]:
    """The cases, with what was said of case i for the answer sides[i] at the end of its transcript."""
    return [
        Case(case.question, case.transcript + tuple(Statement(side, text) for text in texts))
        for case, side, texts in zip(cases, sides, said, strict=True)
    ]


@dataclass(frozen=True)
class Judgements:
    """Of n questions: `log_odds` (n,) that the first answer is right, and what the judge had read, of each question."""

    log_odds: np.ndarray
    transcripts: list[tuple[Statement, ...]]

    def right(self, questions: Sequence[Question]) -> np.ndarray:
        """(n,) float: 1 where the judge took the right answer, .5 where it could not tell."""
        first = np.where(self.log_odds == 0, 0.5, self.log_odds > 0)
        return np.where([q.correct == 0 for q in questions], first, 1 - first)


class Oversight(Protocol):
    """A protocol, with its own settings (turns, order, …) as fields."""

    def __call__(self, questions: Sequence[Question], people: Participants, rng: np.random.Generator) -> Judgements:
        """The judgement of every question."""
        ...


@dataclass(frozen=True)
class Configured:
    """A protocol as the section `oversight` of params.yaml asks for it. `made`: the protocol; `heard`: the side of every statement
    that its judge reads of a question at most, where an expert makes one a turn (`Statement.side`); `levels`: how often an assistant
    learns from the judge's choices before the protocol judges anything (recursive_reward.py)."""

    made: Callable[[Settings], Oversight]
    heard: Callable[[Settings], Sequence[int | None]]
    levels: Callable[[Settings], int] = lambda _: 0


def configured(name: str) -> Configured:
    """The protocol in the file of that name."""
    found: Configured = import_module(f"tasks.oversight.{name}").PROTOCOL
    return found
