"""An assistant that is a language model: what it chooses is what the judge reads, and it learns from his choices alone."""

import contextlib
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from governance.errors import BadInput
from tasks import params
from tasks.oversight.assistant import Assistant
from tasks.oversight.lessons import SIDES, Lessons, sides_of
from tasks.oversight.protocol import Case, Participants, Question
from tasks.oversight.recursive_reward import RecursiveReward
from tasks.rlhf.models import load_tokenizer
from tests.conftest import ROOT

WORDS = ("help", "what", "good", "people", "that", "would", "think", "really", "want", "about")


class Helper:
    """Answers in words that it draws; a question has `parts` smaller ones."""

    def __init__(self, *, parts: int = 3) -> None:
        self._draw, self._parts = np.random.default_rng(0), parts

    def parts(self, texts: Sequence[str]) -> list[tuple[str, ...]]:
        return [tuple(f"{text} {k}" for k in range(self._parts)) for text in texts]

    def composed(self, texts: Sequence[str], parts: Sequence[Sequence[str]]) -> list[str]:
        return [" ".join(self._draw.choice(WORDS, self._draw.integers(1, 9))) for _ in texts]

    def stated(self, text: str, answer: str) -> str:
        return f"{text}: {answer}"


class Judge:
    """Prefers the longer answer by two in log-odds, but by ten the first one where he read the word `swayed`; keeps what he read."""

    def __init__(self, *, answers: bool = True, swayed: str = "none") -> None:
        self.read: list[Case] = []
        self._answers, self._swayed = answers, swayed

    def log_odds(self, cases: Sequence[Case]) -> np.ndarray:
        self.read += cases
        if not self._answers:
            return np.full(len(cases), np.nan)
        longer = [2 * np.sign(len(c.question.answers[0]) - len(c.question.answers[1])) for c in cases]
        swayed = [any(self._swayed in said.text for said in c.transcript) for c in cases]
        return np.where(swayed, 10.0, longer)


def rate_by(word: str) -> Any:
    return lambda _, answers: np.array([answer.count(word) for answer in answers], dtype=float)


def test_the_highest_rated_of_several_draws_is_what_the_judge_reads() -> None:
    asked = [Question("How many?", ("a", "b"), None, 0)] * 20
    odds = {}
    for word in ("really", "good"):
        who = Participants(Judge(swayed="really"), assistant=Assistant(Helper(parts=1), rate_by(word), 8))
        found = RecursiveReward()(asked, who, np.random.default_rng(0))
        odds[word] = found.log_odds
        assert all(s.side is None and s.text.startswith("How many? 0: ") for (s,) in found.transcripts)
        assert np.mean([word in said.text for (said,) in found.transcripts]) > 0.9
    assert (odds["really"] == 10).mean() > (odds["good"] == 10).mean() + 0.3


def test_one_draw_among_equals_and_nothing_where_nothing_is_said() -> None:
    class Said(Helper):
        draws = iter([["", "", "b"], ["a", "", "b b"]])

        def composed(self, texts: Sequence[str], parts: Sequence[Sequence[str]]) -> list[str]:
            return next(self.draws)

    worst = Assistant(Said(), lambda _, answers: -np.array([len(answer) for answer in answers]), 2)
    assert worst.composed(["x", "y", "z"], [(), (), ()]) == ["a", "", "b"]  # an empty answer is short, and not chosen


@pytest.fixture
def stage(tiny_model_folder: Path, tmp_path: Path) -> Any:
    """A stage with the tiny model as SFT, in its own folder."""
    shutil.copytree(tiny_model_folder, tmp_path / "data/models/sft")
    settings = params.load(ROOT / "params.yaml")
    learning = {"epochs": 8, "learning_rate": 3e-3, "batch": 8, "max_length": 64, "bf16": False}
    settings = settings.model_copy(
        update={
            "reward": settings.reward.model_copy(update=learning),
            "oversight": settings.oversight.model_copy(update={"pairs": 90, "turns": 2}),
        }
    )
    with contextlib.chdir(tmp_path):
        yield SimpleNamespace(params=settings, seed=7, follows=False)


def lessons(stage: Any, judge: Judge, helper: Helper | None = None) -> Lessons:
    prompts = [f"{word} {other}" for word in WORDS for other in WORDS[:4]]
    tokenizer = load_tokenizer(Path("data/models/sft"))
    return Lessons(stage, tokenizer, judge, helper or Helper(), lambda: prompts)


def test_it_learns_what_the_judge_prefers_level_by_level_and_the_same_from_the_same_seed(stage: Any) -> None:
    judge = Judge()
    taught = lessons(stage, judge)
    assistant = taught.taught(2)
    texts = ["What would help?"] * 2
    longer, shorter = assistant.rate(texts, ["I think that people want really good help", "I"])
    assert longer > shorter
    figures = {row["name"]: row for row in taught.figures}
    last = figures["oversight/assistant_agreement/level_2"]
    assert last["low"] > 0.5 and last["n"] == taught.notes[1]["held_out"]
    for k, note in enumerate(taught.notes, 1):
        assert figures[f"oversight/assistant_learned/level_{k}"]["value"] == note["learned"] > 40
    (first, alone), (second, assisted) = taught.judged
    assert len(first) + len(second) == len(judge.read) > 150
    assert not any(alone.transcripts) and all(len(said) == 3 for said in assisted.transcripts)
    assert {q.text.count(" ") for q in first} == {3} and {q.text.count(" ") for q in second} == {
        2
    }  # parts of parts first
    again = lessons(stage, Judge()).taught(2)
    words = [" ".join(WORDS[k:]) for k in range(len(WORDS))]
    assert assistant.rate(words, words).tobytes() == again.rate(words, words).tobytes()


def test_what_it_is_measured_on_teaches_nothing(stage: Any) -> None:
    """Not by another smaller question of the same prompt either."""
    taught, root = lessons(stage, Judge()), " ".join
    taught.taught(2)
    sides = sides_of(root(q.text.split()[:2]) for questions, _ in taught.judged for q in questions)
    counts = Counter(sides[root(q.text.split()[:2])] for questions, _ in taught.judged for q in questions)
    choices = sum(int((found.log_odds != 0).sum()) for _, found in taught.judged)
    last = taught.notes[-1]
    assert sum(last[side] for side in SIDES) == choices
    assert all(0.6 * counts[side] < last[side] <= counts[side] for side in SIDES)


@pytest.mark.parametrize(("n", "found"), [(3, (1, 1, 1)), (23, (5, 2, 16)), (200, (40, 20, 140))])
def test_few_prompts_are_enough_for_every_side(n: int, found: tuple[int, int, int]) -> None:
    sides = sides_of([f"{k}?" for k in range(n)] * 2)
    assert tuple(list(sides.values()).count(side) for side in SIDES) == found and len(sides) == n


@pytest.mark.parametrize(("answers", "parts", "asked"), [(False, 3, r"1\d\d"), (True, 0, "0")])
def test_a_judge_who_never_answers_teaches_nobody(stage: Any, answers: bool, parts: int, asked: str) -> None:
    with pytest.raises(
        BadInput, match=rf"recursive_reward has 0 choices of the judge, of {asked} pairs of answers .* raise"
    ):
        lessons(stage, Judge(answers=answers), Helper(parts=parts)).taught(2)
