"""Answers that a model revises by a principle: the supervised phase of Constitutional AI (Bai et al. 2022).

The base model answers a prompt of the demonstrations, says where its answer falls short of a drawn principle, and writes it
anew. Every step is kept in `data/reports/sft/revisions.parquet`; SFT learns the revised answers beside the demonstrations.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from governance.digest import sha256_path
from governance.errors import BadInput
from tasks import paths
from tasks.evals.generation import respond
from tasks.principles import Principle, drawn, note, read_principles
from tasks.rlhf.encoding import encode_prompts
from tasks.rlhf.models import load_tokenizer
from tasks.rlhf.processes import from_first
from tasks.splits import drawn_rows
from tasks.stage import Stage
from tasks.tables import MESSAGES, write_table

FILE = paths.report("sft") / "revisions.parquet"
CRITIQUE = "A good response {text}\nSay in one or two sentences where your last response falls short of this."
REVISE = "Now write the response anew, so that it does not fall short. Give the new response alone."
STEPS = 3
SCHEMA: dict[str, Any] = {
    **{"id": pl.String, "prompt": MESSAGES, "answer": pl.String, "principle": pl.String, "critique": pl.String},
    **{"revision": pl.String, "ended": pl.Boolean},
}


def revised(stage: Stage, demonstrations: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, str]]:
    """(demonstrations (id, messages) by revision, what the lineage says of them); nothing where `principles.revisions` is 0.
    Each has the id of the demonstration whose prompt it answers, so that both stand on one side of the dev split."""
    table, digest = from_first(lambda: _made(stage, demonstrations))
    return trained_on(table), digest


def trained_on(table: pl.DataFrame) -> pl.DataFrame:
    """Demonstrations (id, messages) of a table of `SCHEMA`, without revisions that are empty or were cut short: they would
    teach SFT to end there."""
    whole = table.filter(pl.col("ended") & (pl.col("revision") != ""))
    answer = pl.concat_list(pl.struct(pl.lit("assistant").alias("role"), pl.col("revision").alias("content")))
    return whole.select("id", pl.concat_list("prompt", answer).alias("messages"))


def _made(stage: Stage, demonstrations: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, str]]:
    settings = stage.params.principles
    if settings.revisions == 0:
        return pl.DataFrame(schema=SCHEMA), {}
    listed = read_principles(settings)
    tokenizer = load_tokenizer(paths.BASE, trust_remote_code=stage.params.base.trust_remote_code)
    prompts = demonstrations.select(
        "id", pl.col("messages").list.head(pl.col("messages").list.len() - 1).alias("prompt")
    )
    asked = [
        encode_prompts(tokenizer, [_asked(p, "", "", _longest(listed.principles))], 1 << 30)[0]
        for p in prompts["prompt"]
    ]
    room = settings.max_tokens - STEPS * settings.max_new_tokens
    fits = pl.Series([len(ids) <= room for ids in asked], dtype=pl.Boolean)
    if not fits.any():
        raise BadInput(
            f"principles.max_tokens: {settings.max_tokens} leave no room for any prompt of {len(fits)} demonstrations with "
            "answer, critique and revision; raise it, or lower principles.max_new_tokens."
        )
    rows = drawn_rows(prompts.filter(fits), settings.revisions, "revision", stage.seed)
    by = [drawn(listed.principles, name, stage.seed) for name in rows["id"]]
    table = _steps(stage, tokenizer, rows, by)
    said = note(settings, listed, table["principle"])
    stage.notes["principles"] = said | {
        "revisions": table.height,
        "trained_on": trained_on(table).height,
        "prompts_too_long": int((~fits).sum()),
    }
    stage.input_table(Path(settings.file), "principles")
    write_table(table, FILE)
    stage.output_table(FILE)
    return table, {"revisions_sha256": sha256_path(FILE)}


def _steps(stage: Stage, tokenizer: Any, rows: pl.DataFrame, by: Sequence[Principle]) -> pl.DataFrame:
    settings, prompts = stage.params.principles, rows["prompt"].to_list()

    def say(conversations: Sequence[Any], step: int) -> Any:
        return respond(
            paths.BASE,
            encode_prompts(tokenizer, conversations, settings.max_tokens),
            samples=1,
            max_new_tokens=settings.max_new_tokens,
            temperature=settings.temperature,
            seed=stage.seed + step,
        )

    answers = say(prompts, 0).texts
    first = [_asked(p, a, None, d.text) for p, a, d in zip(prompts, answers, by, strict=True)]
    critiques = say(first, 1).texts
    second = [_asked(p, a, c, d.text) for p, a, c, d in zip(prompts, answers, critiques, by, strict=True)]
    revisions = say(second, 2)
    said = {"answer": answers, "principle": [d.id for d in by], "critique": critiques, "revision": revisions.texts}
    ended = pl.Series("ended", revisions.ended.tolist(), dtype=pl.Boolean)
    return rows.select("id", "prompt").with_columns(*(pl.Series(k, v, dtype=pl.String) for k, v in said.items()), ended)


def _asked(prompt: Any, answer: str, critique: str | None, text: str) -> list[dict[str, str]]:
    """The conversation up to the request for a critique or, where there is one, for a revision."""
    turns = [("assistant", answer), ("user", CRITIQUE.format(text=text.strip()))]
    turns += [] if critique is None else [("assistant", critique), ("user", REVISE)]
    return [*prompt, *({"role": role, "content": content} for role, content in turns)]


def _longest(principles: Sequence[Principle]) -> str:
    return max((p.text for p in principles), key=len)
