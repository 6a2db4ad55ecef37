"""What the assistants of recursive reward modelling learn from with language models (recursive_reward.py, assistant.py).

The smaller questions are the parts of people's training prompts, the parts of these, and so on, `turns` times; the smallest are level 1.
The judge chooses between two answers that the helper draws to each. All smaller questions of a prompt teach, or say when to stop, or are
held out: on the last an assistant is measured. Each begins from SFT and learns the choices of all levels so far. None is kept: the seed makes
it again.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import polars as pl

from governance.errors import BadInput
from tasks.oversight.assistant import Assistant, Rater, rater, texts_of
from tasks.oversight.judge_audit import Row, assisted
from tasks.oversight.protocol import Helper, Judge, Judgements, Question
from tasks.oversight.recursive_reward import assistants
from tasks.rlhf.processes import from_first
from tasks.soft_pairs import SCHEMA, preferred
from tasks.splits import number
from tasks.stage import Stage

SIDES = ("held_out", "stopping", "learned")
HELD_OUT, STOPPING = 0.2, 0.1  # shares of the prompts; the rest is learned
Smaller = dict[str, str]  # {smaller question: the prompt that it came from}


@dataclass
class Lessons:
    """`prompts`: people's, as text, read by the first process alone. What is found: `judged`, what the judge was asked and said, level by
    level; `notes` and `figures`, how many of his choices an assistant learned, and how often it chooses as he does."""

    stage: Stage
    tokenizer: Any
    judge: Judge
    helper: Helper
    prompts: Callable[[], list[str]]
    judged: list[tuple[list[Question], Judgements]] = field(default_factory=list)
    notes: list[dict[str, int]] = field(default_factory=list)
    figures: list[Row] = field(default_factory=list)
    _smaller: list[Smaller] = field(default_factory=list)
    _sides: dict[str, str] = field(default_factory=dict)
    _choices: list[pl.DataFrame] = field(default_factory=list)
    _last: Assistant | None = None

    def taught(self, levels: int) -> Assistant:
        """The assistant of the last level. Raises BadInput where the judge's choices are too few for any."""
        self._smaller = from_first(lambda: smaller(self.helper, self.prompts(), self.stage))
        self._sides = sides_of(prompt for level in self._smaller for prompt in level.values())
        list(islice(assistants(self.judge, self._asked, self._learned, np.random.default_rng(0)), levels))
        if self._last is None:
            asked, choices = sum(len(q) for q, _ in self.judged), sum(c.height for c in self._choices)
            raise BadInput(
                f"oversight.protocol: recursive_reward has {choices} choices of the judge, of {asked} pairs of answers to smaller "
                "questions, which are too few to teach an assistant and to measure it; raise oversight.pairs, or name another "
                "judge, expert or protocol."
            )
        return self._last

    def _asked(self, level: int) -> list[Question]:
        """Two answers to each smaller question of a level, where they differ and say something."""
        texts = list(self._smaller[level - 1])
        first, second = (self.helper.composed(texts, [()] * len(texts)) for _ in range(2))
        answered = zip(texts, first, second, strict=True)
        return [Question(text, (a, b), None, level) for text, a, b in answered if a and b and a != b]

    def _learned(self, level: int, questions: list[Question], found: Judgements) -> Assistant | None:
        """The assistant that learned this level's choices, too; the one before where there are none, or too few."""
        self.judged.append((questions, found))
        asked = pl.DataFrame(
            [
                {"id": self._smaller[level - 1][q.text], "prompt": [{"role": "user", "content": q.text}]}
                for q in questions
            ],
            schema={name: SCHEMA[name] for name in ("id", "prompt")},
        )
        self._choices.append(preferred(asked, [q.answers for q in questions], found.log_odds, "assistant"))
        every = pl.concat(self._choices).with_columns(
            side=pl.col("id").replace_strict(self._sides, return_dtype=pl.String)
        )
        sides = {name: every.filter(side=name) for name in SIDES}
        if self._choices[-1].height and all(side.height for side in sides.values()):
            rate = rater(self.stage, self.tokenizer, sides["learned"], sides["stopping"], level)
            self._last = Assistant(self.helper, rate, self.stage.params.oversight.candidates)
            if not self.stage.follows:
                self.notes.append(
                    {"level": level, "asked": len(questions)} | {n: side.height for n, side in sides.items()}
                )
                self.figures += assisted(level, sides["learned"].height, agreement(rate, sides["held_out"]))
        return self._last


def smaller(helper: Helper, prompts: list[str], stage: Stage) -> list[Smaller]:
    """Smaller questions of each level, the smallest first; of a level at most as many as there are to be pairs, drawn."""
    settings, roots = stage.params.oversight, {prompt: prompt for prompt in prompts}
    found: list[Smaller] = []
    for _ in range(settings.turns):
        parts = {
            part: roots[text] for text, some in zip(roots, helper.parts(list(roots)), strict=True) for part in some
        }
        drawn = sorted(parts, key=lambda part: number(f"{stage.seed}:assistant:{part}"))[: settings.pairs]
        roots = {part: parts[part] for part in drawn}
        found.insert(0, roots)
    return found


def sides_of(prompts: Iterable[str]) -> dict[str, str]:
    """Whether the smaller questions of each prompt are held out, say when to stop, or are learned, drawn by its text: in these shares,
    but of one prompt at least."""
    drawn = sorted(set(prompts), key=lambda prompt: number(f"assistant:{prompt}"))
    first, second = (max(1, round(share * len(drawn))) for share in (HELD_OUT, STOPPING))
    return {p: SIDES[(k >= first) + (k >= first + second)] for k, p in enumerate(drawn)}


def agreement(rate: Rater, choices: pl.DataFrame) -> np.ndarray:
    """(n,): 1 where what the judge preferred is rated higher, .5 where both are rated alike."""
    texts, better, worse = texts_of(choices)
    gaps = rate(texts, better) - rate(texts, worse)
    return np.where(gaps == 0, 0.5, gaps > 0)
