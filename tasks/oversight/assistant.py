"""The assistant of recursive reward modelling that is a language model (recursive_reward.py): of several answers to a question, which a
helper draws, it states the one that a reward model rates highest. That model is SFT with a head, trained as the stage's own reward
model, on which of two such answers the judge preferred.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from tasks import paths
from tasks.oversight.protocol import Helper
from tasks.rlhf.branches import answer_scores
from tasks.rlhf.encoding import encode_pairs, stop_token_id
from tasks.rlhf.models import merged, new_reward_model
from tasks.rlhf.precision import autocast
from tasks.rlhf.reward_trainer import RankedRow, train_reward
from tasks.rlhf.sft_trainer import curves_into
from tasks.rlhf.sharding import plain
from tasks.splits import number
from tasks.stage import Stage
from tasks.training_params import Reward
from tasks.trainings import as_trained

Rate = Callable[[Sequence[str], Sequence[str]], np.ndarray]  # (n,): of each question's answer, the higher the better


@dataclass(frozen=True)
class Assistant:
    """A helper that answers with one of `candidates` answers of another's: the one rated highest; with nothing where all are empty."""

    helper: Helper
    rate: Rate
    candidates: int

    def parts(self, texts: Sequence[str]) -> list[tuple[str, ...]]:
        """The other helper's."""
        return self.helper.parts(texts)

    def composed(self, texts: Sequence[str], parts: Sequence[Sequence[str]]) -> list[str]:
        """Of each question the answer that is rated highest; the first of several."""
        drawn = [self.helper.composed(texts, parts) for _ in range(self.candidates)]
        rated = np.array([np.where(np.array(some) == "", -np.inf, self.rate(texts, some)) for some in drawn])
        return [drawn[k][i] for i, k in enumerate(rated.argmax(axis=0))]

    def stated(self, text: str, answer: str) -> str:
        """As the other helper states it."""
        return self.helper.stated(text, answer)


@dataclass(frozen=True)
class Rater:
    """A reward model as a `Rate`; conversations are cut as the stage's own reward model cuts them."""

    model: Any
    tokenizer: Any
    settings: Reward

    def __call__(self, texts: Sequence[str], answers: Sequence[str]) -> np.ndarray:
        """(n,) scores."""
        rows = _conversations(self.tokenizer, self.settings, texts, answers)
        with autocast(self.settings.bf16, self.model.device):
            return answer_scores(self.model, rows, None).double().numpy()


def rater(stage: Stage, tokenizer: Any, learned: pl.DataFrame, stopping: pl.DataFrame, level: int) -> Rater:
    """A reward model of one level's assistant. `learned`, `stopping`: pairs of tasks.soft_pairs that it learns, and that say when it
    has learned enough, as people's pairs on the dev part do. All processes train it, and only the first one rates with it."""
    settings, seed = stage.params.reward, number(f"{stage.seed}:assistant:{level}") % 2**31
    model = new_reward_model(
        paths.SFT, tokenizer.pad_token_id, seed, trust_remote_code=stage.params.base.trust_remote_code
    )
    trained = as_trained(stage, model, "SEQ_CLS", seed)
    train, dev = (_rows(tokenizer, settings, pairs) for pairs in (learned, stopping))
    train_reward(trained, tokenizer, train, dev, settings, seed, curves_into([]), f"assistant {level}")
    trained = plain(trained)
    return Rater(trained if stage.follows else merged(trained), tokenizer, settings)


def texts_of(pairs: pl.DataFrame) -> tuple[list[str], list[str], list[str]]:
    """(questions, better answers, worse answers) of pairs of tasks.soft_pairs."""
    question, better, worse = (
        [messages[-1]["content"] for messages in pairs[column].to_list()] for column in ("prompt", "chosen", "rejected")
    )
    return question, better, worse


def _rows(tokenizer: Any, settings: Reward, pairs: pl.DataFrame) -> list[RankedRow]:
    texts, *answers = texts_of(pairs)
    better, worse = (_conversations(tokenizer, settings, texts, some) for some in answers)
    return [RankedRow.pair(*row) for row in zip(better, worse, pairs["weight"].to_list(), strict=True)]


def _conversations(tokenizer: Any, settings: Reward, texts: Sequence[str], answers: Sequence[str]) -> list[list[int]]:
    asked, said = (
        [[{"role": role, "content": t}] for t in some] for role, some in (("user", texts), ("assistant", answers))
    )
    encoded = encode_pairs(tokenizer, asked, said, stop_token_id(tokenizer), settings.max_length)
    return [prompt + answer for prompt, answer in encoded]
