"""Which side of the split a prompt belongs to: decided by the prompt alone, never by the row.

The key is the first user turn, case-folded and with white space collapsed, so that two conversations that open alike
stand on one side even where they go on differently. `position` maps a key to [0, 1) by SHA-256: adding or removing
rows moves nobody. Sides are consecutive intervals in the order of `SIDES`; the two held-out sides come last, so that
everything at or above `HELD_OUT_FROM` was never seen by the shipped base model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl  # every command reads the names of the sides, and few read rows

SIDES = ("sft", "reward_train", "judge_train", "ppo_prompts", "reward_test", "eval_prompts")
HELD_OUT_FROM = 0.74


def split_key(prompt: Sequence[Mapping[str, str]]) -> str:
    """Key of a prompt given as messages; the whole first turn if there is no user turn."""
    first = next((m["content"] for m in prompt if m["role"] == "user"), prompt[0]["content"] if prompt else "")
    return _folded(first)


def split_keys(prompts: pl.Series) -> list[str]:
    """`split_key` of a column of prompts, without its messages as Python objects."""
    import polars as pl

    turns = (
        prompts.rename("prompt")
        .to_frame()
        .select(
            pl.col("prompt").list.filter(pl.element().struct.field("role") == "user").list.first().alias("user"),
            pl.col("prompt").list.first().alias("first"),
        )
    )
    first = turns.select(pl.coalesce(pl.col(c).struct.field("content") for c in ("user", "first")).fill_null(""))
    return [_folded(text) for text in first.to_series().to_list()]


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def position(key: str) -> float:
    """Uniform number in [0, 1) that depends on the key alone."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:6], "big") / 2**48


def side_of(key: str, shares: Mapping[str, float]) -> str:
    """Side on which `key` stands. `shares` maps every name of SIDES to its share; the shares sum to 1."""
    at = position(key)
    upper = 0.0
    for side in SIDES:
        upper += shares[side]
        if at < upper:
            return side
    return SIDES[-1]


def number(text: str) -> int:
    """A number of 256 bits that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")


def drawn_rows(rows: pl.DataFrame, n: int, what: str, seed: int) -> pl.DataFrame:
    """At most `n` rows, drawn by their `id` and the seed, in the order of the table."""
    import polars as pl

    order = pl.Series([number(f"{seed}:{what}:{name}") >> 192 for name in rows["id"]], dtype=pl.UInt64)
    return rows.with_row_index("at").sort(order).head(n).sort("at").drop("at")
