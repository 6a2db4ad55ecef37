"""Preferences by principle: two answers of SFT to a prompt, and which of them a drawn principle prefers (the feedback phase of
Constitutional AI, Bai et al. 2022); the label is soft (`tasks.soft_pairs`)."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from governance.digest import sha256_path, write_json
from governance.errors import BadInput
from tasks import paths
from tasks.choice_models import Asked, asked_model
from tasks.principle_audit import Row, audited
from tasks.principle_feedback import Case, longest, preferences
from tasks.principles import Principle, drawn, note, read_principles
from tasks.rlhf.models import load_tokenizer
from tasks.rlhf.processes import from_first
from tasks.sft_answers import NoneFits, answered_twice, drawn_prompts
from tasks.soft_pairs import SCHEMA as SOFT
from tasks.soft_pairs import Answers, preferred
from tasks.stage import Stage
from tasks.stats.intervals import wilson
from tasks.tables import write_table

PAIRS = paths.PRINCIPLE_PAIRS
SOURCE = "principles"
LEVEL = 0.95
SCHEMA: dict[str, Any] = SOFT | {"principle": pl.String, "orders_agree": pl.Boolean}


def by_principles(stage: Stage) -> tuple[pl.DataFrame, list[Row], dict[str, str]]:
    """The pairs that principles prefer, none where `principles.pairs` is 0; rows of `metrics.json` on them and on what the
    principles say of people's pairs; and what the lineage says of them. The first process writes the pairs to `PAIRS`."""
    return from_first(lambda: _made(stage))


def _made(stage: Stage) -> tuple[pl.DataFrame, list[Row], dict[str, str]]:
    settings = stage.params.principles
    if settings.pairs == 0:
        nothing = pl.DataFrame(schema=SCHEMA)
        write_table(nothing, PAIRS)  # DVC keeps no output that is not there
        stage.output_table(PAIRS)
        return nothing, [], {}
    listed = read_principles(settings)
    trust = stage.params.base.trust_remote_code
    tokenizer = load_tokenizer(paths.SFT, trust_remote_code=trust)
    asked = asked_model(settings.endpoint, "principles.endpoint", settings.max_tokens, trust_remote_code=trust)
    prompts = _prompts(stage, tokenizer, listed.principles)
    rows, answers = answered_twice(stage, settings, tokenizer, prompts)
    table, figures, aside = _preferred(rows, answers, listed.principles, asked, stage.seed)
    aside["same_or_empty"] = prompts.height - rows.height
    found, report = audited(stage, tokenizer, listed.principles, asked)
    write_json(stage.report / "principles.json", report)
    by = settings.endpoint.model if settings.endpoint else paths.SFT.as_posix()
    said = note(settings, listed, table["principle"])
    stage.notes["principles"] = said | {"preferred_by": by, "pairs": table.height, "set_aside": aside}
    stage.input_table(Path(settings.file), "principles")
    write_table(table, PAIRS)
    stage.output_table(PAIRS)
    return table, figures + found, {"principle_pairs_sha256": sha256_path(PAIRS)}


def _prompts(stage: Stage, tokenizer: Any, principles: list[Principle]) -> pl.DataFrame:
    """Prompts (id, prompt) that leave room for both answers and the longest principle."""
    settings = stage.params.principles
    texts = [p.text for p in principles]
    limit = settings.max_tokens - 2 * settings.max_new_tokens
    try:
        return drawn_prompts(
            stage, settings, "pair", lambda prompt: longest(tokenizer, Case(prompt, "", "", ""), texts) <= limit
        )
    except NoneFits:
        raise BadInput(
            f"principles.max_tokens: {settings.max_tokens} leave no room for any prompt beside two answers; raise it, or lower "
            "principles.max_new_tokens."
        ) from None


def _preferred(
    prompts: pl.DataFrame, answers: list[Answers], principles: list[Principle], asked: Asked, seed: int
) -> tuple[pl.DataFrame, list[Row], dict[str, int]]:
    """(table of `SCHEMA`, rows of figures, how many pairs were set aside and why)."""
    by = [drawn(principles, name, seed) for name in prompts["id"]]
    cases = [Case(p, a, b, d.text) for p, (a, b), d in zip(prompts["prompt"].to_list(), answers, by, strict=True)]
    found = preferences(asked, cases)
    rows = prompts.with_columns(
        id="principle-" + pl.col("id"),
        principle=pl.Series([d.id for d in by], dtype=pl.String),
        orders_agree=pl.Series(found.orders_agree.tolist(), dtype=pl.Boolean),
    )
    table = preferred(rows, answers, found.log_odds, SOURCE)
    unread = int(np.isnan(found.log_odds).sum())
    aside = {"no_letter": unread, "undecided": prompts.height - unread - table.height}
    n, agree = table.height, int(table["orders_agree"].sum())
    low, high = wilson(agree, n, LEVEL)
    figures = [
        {
            "name": "principles/orders_agree",
            "value": agree / n if n else None,
            "low": low,
            "high": high,
            "n": n,
            "slice": None,
        }
    ]
    return table, figures, aside
