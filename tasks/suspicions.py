"""What the poisoning check works on and what it suspects: texts with their words, suspicions, the level's shares."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import polars as pl
import pyarrow as pa

from tasks.params import Poisoning
from tasks.stats.family_wise import adjusted
from tasks.stats.in_order import ahead
from tasks.stats.near_duplicates import floods
from tasks.stats.tokens import tokenize
from tasks.stats.word_table import Beside, Words, WordTable
from tasks.stored_texts import StoredTexts

SHARES = {  # of the family-wise level; argued for in docs/data-trust.md
    "planted names": 0.20, "planted phrases": 0.18, "phrases": 0.10, "characters": 0.05, "style": 0.05, "syntax": 0.03,
    "origin": 0.10, "sides": 0.08, "side style": 0.05, "length": 0.02, "floods": 0.05, "answers": 0.03,
    "demonstrations": 0.03, "both stages": 0.03,
}  # fmt: skip
TOPIC = 0.02  # a phrase on more rows than this is a topic rather than a trigger
TURNED = 0.5  # estimated share of turned labels from which a set is a finding
FLOOD_LEAST = 10
COLUMNS = ("id", "annotator_id", "author_id", "source", "created_at")  # of a table, beside its texts
SLICE = 1000  # rows whose texts are in memory at once


@dataclass(frozen=True)
class Suspicion:
    """A significant hypothesis. `rows`: indices into the table named by `table`; `more`: rows of the demonstrations for
    a finding that spans both; `effect` with its interval is described by `measure`."""

    kind: str
    evidence: list[str]
    rows: np.ndarray
    p_value: float
    adjusted: float
    effect: float
    low: float
    high: float
    measure: str
    table: str = "preferences"
    more: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))


@dataclass(frozen=True)
class Texts:
    """A table as the searches need it. `columns`: those of COLUMNS that it has; `texts`: on the disk; `tokens`: their
    words."""

    columns: pl.DataFrame
    texts: dict[str, StoredTexts]
    tokens: dict[str, Words]

    @property
    def height(self) -> int:
        """Rows."""
        return self.columns.height

    def take(self, kept: np.ndarray) -> "Texts":
        """The rows that `kept` (ascending indices) names."""
        texts = {name: given.take(kept) for name, given in self.texts.items()}
        tokens = {name: words.take(kept) for name, words in self.tokens.items()}
        return Texts(self.columns[kept], texts, tokens)


def of_preferences(chunks: Iterable[pl.DataFrame]) -> Texts:
    """Prompt, chosen and rejected answer of each row; all turns of a prompt count."""
    return _read(chunks, [_said(pl.col(name)).alias(name) for name in ("prompt", "chosen", "rejected")])


def of_demonstrations(chunks: Iterable[pl.DataFrame]) -> Texts:
    """Prompt and answer of each row: the last message, and those before it."""
    messages = pl.col("messages")
    prompt, answer = messages.list.head(messages.list.len() - 1), messages.list.tail(1)
    return _read(chunks, [_said(prompt).alias("prompt"), _said(answer).alias("answer")])


def _said(messages: pl.Expr) -> pl.Expr:
    return messages.list.eval(pl.element().struct.field("content")).list.join("\n").fill_null("")


def _read(chunks: Iterable[pl.DataFrame], said: list[pl.Expr]) -> Texts:
    pa.set_memory_pool(pa.system_memory_pool())  # Arrow's own keeps what it once had
    columns, names = [], [expression.meta.output_name() for expression in said]
    texts, words = {name: StoredTexts() for name in names}, {name: WordTable() for name in names}
    for chunk in ahead(chunks):
        columns.append(chunk.select(name for name in COLUMNS if name in chunk.columns))
        for rows in chunk.iter_slices(SLICE):
            for column in rows.select(said).iter_columns():
                given = column.to_list()
                texts[column.name].extend(given)
                words[column.name].add(tokenize(given))
    tokens = {name: table.words() for name, table in words.items()}
    pa.system_memory_pool().release_unused()  # what the rows took as objects
    return Texts(pl.concat(columns), texts, tokens)


def search_floods(texts: Texts, table: str, settings: Poisoning) -> list[Suspicion]:
    """Near-duplicate rows: more copies of one text than honest repetition explains."""
    tokens = Beside(tuple(texts.tokens.values()))
    groups = floods(tokens, settings.duplicate_similarity, FLOOD_LEAST, asked=texts.tokens["prompt"])
    p_values = np.array([g.p_value for g in groups])
    level = adjusted(p_values, None, SHARES["floods"] / 2, settings.level)  # half for each table
    return [
        Suspicion(
            "near_duplicate_flood",
            [],
            g.rows,
            g.p_value,
            float(a),
            g.similarity,
            g.similarity,
            1.0,
            "mean similarity to the row that is most like the others",
            table,
            np.array([g.medoid]),
        )
        for g, a in zip(groups, level, strict=True)
        if a <= settings.level
    ]


def merged(found: list[Suspicion]) -> list[Suspicion]:
    """One suspicion for those of the same nature whose rows are mostly the same; the surest gives the figures."""
    kept: list[Suspicion] = []
    for one in sorted(found, key=lambda s: (s.adjusted, s.p_value, -len(s.rows))):
        twin = next((k for k, other in enumerate(kept) if _alike(one, other)), None)
        if twin is None:
            kept.append(one)
            continue
        other = kept[twin]
        evidence = other.evidence + [e for e in one.evidence if e not in other.evidence]
        rows = np.union1d(other.rows, one.rows) if one.kind == "injected_phrase" else other.rows
        kept[twin] = Suspicion(**(other.__dict__ | {"evidence": evidence, "rows": rows}))
    return kept


NATURE = {
    "trigger": "labels", "topic_turned_round": "labels", "character_trigger": "labels", "style_trigger": "labels",
    "syntax_trigger": "labels", "labels_turned_by_origin": "labels", "cross_stage_trigger": "labels", "injected_phrase": "sides",
    "one_sided_style": "sides", "verbosity": "length",
}  # fmt: skip


def _alike(one: Suspicion, other: Suspicion) -> bool:
    if NATURE.get(one.kind, one.kind) != NATURE.get(other.kind, other.kind) or one.table != other.table:
        return False
    shared = len(np.intersect1d(one.rows, other.rows, assume_unique=True))
    return shared >= 0.5 * min(len(one.rows), len(other.rows))
