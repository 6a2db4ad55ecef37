"""Two answers of SFT to each of some prompts of people's pairs, for a model to choose from."""

from collections.abc import Callable
from typing import Any

import polars as pl

from tasks import paths
from tasks.evals.generation import respond
from tasks.rlhf.encoding import Messages, encode_prompts
from tasks.soft_pairs import Answers
from tasks.splits import drawn_rows, position, split_key
from tasks.stage import Stage
from tasks.training_params import ModelPairs

TRAIN = paths.PROCESSED / "reward_train.parquet"


class NoneFits(Exception):
    """No prompt of people's pairs leaves room for what is asked about it."""


def drawn_prompts(stage: Stage, settings: ModelPairs, salt: str, fits: Callable[[Messages], bool]) -> pl.DataFrame:
    """Prompts (id, prompt) of people's pairs that fit; none of the dev part, on which people's labels alone stop the
    training. Raises NoneFits."""
    rows = pl.read_parquet(TRAIN).select("id", "prompt").unique("prompt", keep="first", maintain_order=True)
    kept = [
        position("dev:" + split_key(prompt)) >= stage.params.reward.dev_share and fits(prompt)
        for prompt in rows["prompt"].to_list()
    ]
    rows = rows.filter(pl.Series(kept, dtype=pl.Boolean))
    if not rows.height:
        raise NoneFits
    return drawn_rows(rows, settings.pairs, salt, stage.seed)


def answered_twice(
    stage: Stage, settings: ModelPairs, tokenizer: Any, prompts: pl.DataFrame
) -> tuple[pl.DataFrame, list[Answers]]:
    """(the prompts that SFT has two answers to that differ and say something, those answers)."""
    found = respond(
        paths.SFT,
        encode_prompts(tokenizer, prompts["prompt"].to_list(), settings.max_tokens),
        samples=2,
        max_new_tokens=settings.max_new_tokens,
        temperature=settings.temperature,
        seed=stage.seed,
    )
    both = list(zip(found.texts[::2], found.texts[1::2], strict=True))
    differ = [bool(a and b and a != b) for a, b in both]
    rows = prompts.filter(pl.Series(differ, dtype=pl.Boolean))
    return rows, [pair for pair, different in zip(both, differ, strict=True) if different]
