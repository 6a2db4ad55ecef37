"""Preferences by principle: two answers of SFT to a prompt, and which of them a drawn principle prefers (the feedback phase of
Constitutional AI, Bai et al. 2022).

A pair's label is soft. With p the probability that `chosen` is the better one, its weight is 2p − 1, as the weight of a pair that
people voted on is by their posterior (`tasks.curate`): at equal scores the loss then has the gradient of the cross-entropy with
p, and a pair that the principle does not decide counts nothing.
"""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from governance.digest import sha256_path, write_json
from governance.errors import BadInput
from tasks import paths
from tasks.evals.generation import Responses, respond
from tasks.principle_audit import Row, audited
from tasks.principle_feedback import Asked, Case, EndpointModel, LocalModel, longest, preferences
from tasks.principles import PAIRS, Principle, drawn, drawn_rows, note, read_principles
from tasks.rlhf.encoding import encode_prompts
from tasks.rlhf.models import load_tokenizer
from tasks.rlhf.processes import from_first
from tasks.splits import position, split_key
from tasks.stage import Stage
from tasks.stats.intervals import wilson
from tasks.tables import MESSAGES, write_table

TRAIN = paths.PROCESSED / "reward_train.parquet"
SOURCE = "principles"
LEVEL = 0.95
SCHEMA: dict[str, Any] = {
    **{"id": pl.String, "prompt": MESSAGES, "chosen": MESSAGES, "rejected": MESSAGES, "source": pl.String},
    **{"weight": pl.Float64, "margin": pl.Float64, "principle": pl.String, "probability": pl.Float64},
    "orders_agree": pl.Boolean,
}


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
    asked: Asked = (
        EndpointModel(settings.endpoint)
        if settings.endpoint
        else LocalModel(paths.SFT, settings.max_tokens, trust_remote_code=trust)
    )
    prompts = _prompts(stage, tokenizer, listed.principles)
    answers = respond(
        paths.SFT,
        encode_prompts(tokenizer, prompts["prompt"].to_list(), settings.max_tokens),
        samples=2,
        max_new_tokens=settings.max_new_tokens,
        temperature=settings.temperature,
        seed=stage.seed,
    )
    table, rows, aside = _preferred(prompts, answers, listed.principles, asked, stage.seed)
    found, report = audited(stage, tokenizer, listed.principles, asked)
    write_json(stage.report / "principles.json", report)
    by = settings.endpoint.model if settings.endpoint else "data/models/sft"
    said = note(settings, listed, table["principle"])
    stage.notes["principles"] = said | {"preferred_by": by, "pairs": table.height, "set_aside": aside}
    stage.input_table(Path(settings.file), "principles")
    write_table(table, PAIRS)
    stage.output_table(PAIRS)
    return table, rows + found, {"principle_pairs_sha256": sha256_path(PAIRS)}


def _prompts(stage: Stage, tokenizer: Any, principles: list[Principle]) -> pl.DataFrame:
    """Prompts (id, prompt) of people's pairs; none of the dev part, on which people's labels alone stop the training."""
    settings = stage.params.principles
    rows = pl.read_parquet(TRAIN).select("id", "prompt").unique("prompt", keep="first", maintain_order=True)
    texts = [p.text for p in principles]
    limit = settings.max_tokens - 2 * settings.max_new_tokens
    fits = [
        position("dev:" + split_key(prompt)) >= stage.params.reward.dev_share
        and longest(tokenizer, Case(prompt, "", "", ""), texts) <= limit
        for prompt in rows["prompt"].to_list()
    ]
    rows = rows.filter(pl.Series(fits, dtype=pl.Boolean))
    if not rows.height:
        raise BadInput(
            f"principles.max_tokens: {settings.max_tokens} leave no room for any prompt beside two answers; raise it, or lower "
            "principles.max_new_tokens."
        )
    return drawn_rows(rows, settings.pairs, "pair", stage.seed)


def _preferred(
    prompts: pl.DataFrame, answers: Responses, principles: list[Principle], asked: Asked, seed: int
) -> tuple[pl.DataFrame, list[Row], dict[str, int]]:
    """(table of `SCHEMA`, rows of figures, how many pairs were set aside and why). `answers`: two to each prompt."""
    both = list(zip(answers.texts[::2], answers.texts[1::2], strict=True))
    differ = pl.Series([bool(a and b and a != b) for a, b in both], dtype=pl.Boolean)
    rows = prompts.filter(differ)
    texts = [pair for pair, different in zip(both, differ, strict=True) if different]
    by = [drawn(principles, name, seed) for name in rows["id"]]
    cases = [Case(p, a, b, d.text) for p, (a, b), d in zip(rows["prompt"].to_list(), texts, by, strict=True)]
    found = preferences(asked, cases)
    table = pl.DataFrame(
        [
            {
                "id": f"principle-{name}",
                "prompt": case.prompt,
                "chosen": [{"role": "assistant", "content": case.first if odds > 0 else case.second}],
                "rejected": [{"role": "assistant", "content": case.second if odds > 0 else case.first}],
                "source": SOURCE,
                "weight": float(np.tanh(abs(odds) / 2)),  # 2 σ(x) − 1
                "margin": None,
                "principle": principle.id,
                "probability": float(1 / (1 + np.exp(-abs(odds)))),
                "orders_agree": bool(agree),
            }
            for name, case, principle, odds, agree in zip(
                rows["id"], cases, by, found.log_odds, found.orders_agree, strict=True
            )
            if odds != 0 and not np.isnan(odds)
        ],
        schema=SCHEMA,
    )
    unread = int(np.isnan(found.log_odds).sum())
    aside = {"same_or_empty": prompts.height - rows.height, "no_letter": unread}
    aside["undecided"] = rows.height - unread - table.height
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
