"""Verdicts on one table, a chunk at a time: counts over all rows, bad rows to quarantine, a bounded sample to show."""

import json
import os
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pandera.polars as pa
import polars as pl

from tasks import rules
from tasks.data_docs import SHOWN, Shown
from tasks.keys import Mask
from tasks.rules import Rule

SAMPLE = 20_000  # rows of a table that the Data Docs are made from; a smaller table is shown whole


class RowChecks:
    """What the rules say of the table `name`."""

    def __init__(self, name: str, which: list[Rule]) -> None:
        self.name = name
        self.checked = self.bad = 0
        self.failed: Counter[str] = Counter({rule.name: 0 for rule in which})
        self.examples: list[str] = []  # ids of the first bad rows
        self._rules = {rule.name: rule for rule in which}
        self._schema = rules.schema(which)
        self._sample: list[pl.DataFrame] = []

    def judge(self, chunk: pl.DataFrame, derived: pl.DataFrame) -> tuple[Mask, list[dict[str, Any]]]:
        """(which rows of the next chunk are good, the quarantine's entries: one for each bad row and rule)."""
        good, ids = rules.judged(derived, list(self._rules.values())), _ids(chunk)
        cases = self._failures(good)
        keep = np.ones(chunk.height, dtype=bool)
        keep[[row for row, _ in cases]] = False
        bad = np.flatnonzero(~keep)
        self._show(good.with_columns(ids))
        self.examples += [ids[int(row)] for row in bad[: 3 - len(self.examples)]]
        self.failed.update(rule for _, rule in cases)
        entries = [self._entry(ids[row], self.checked + row, self._rules[rule]) for row, rule in cases]
        self.checked += chunk.height
        self.bad += len(bad)
        return keep, entries

    def shown(self) -> Shown:
        """What Data Docs are made from."""
        sample = pl.concat(self._sample)
        note = None
        if sample.height < self.checked:
            failed = ", ".join(f"{rule}: {n:,}" for rule, n in self.failed.items() if n) or "none"
            note = (
                f"The table has {self.checked:,} rows. This page shows a sample of {sample.height:,}: the first ones, "
                f"and of the others some that fail. Failures among all rows: {failed}."
            )
        return Shown(sample, {name: f"{rule.field}: {rule.sentence}" for name, rule in self._rules.items()}, note)

    def _failures(self, good: pl.DataFrame) -> list[tuple[int, str]]:
        """(row in the chunk, rule) by pandera, lazily: all failures at once."""
        try:
            self._schema.validate(good, lazy=True)
        except pa.errors.SchemaErrors as errors:
            cases = errors.failure_cases.select(pl.col("index").cast(pl.Int64), pl.col("column").cast(pl.String))
            return sorted(cases.iter_rows())
        return []

    def _show(self, verdicts: pl.DataFrame) -> None:
        """Keep the first rows of the table, and of the later ones the first that fail each rule."""
        first = verdicts.head(max(0, SAMPLE - self.checked))
        later = verdicts[first.height :].with_row_index("row")
        rows = pl.concat(
            later.filter(~pl.col(name))["row"].head(max(0, SHOWN - self.failed[name])) for name in self._rules
        )
        self._sample.append(pl.concat([first, later.filter(pl.col("row").is_in(rows.implode())).drop("row")]))

    def _entry(self, name: str, row: int, rule: Rule) -> dict[str, Any]:
        said = {"field": rule.field, "rule": rule.name, "reason": rule.sentence}
        return {"table": self.name, "id": name, "row": row, **said}


class Quarantine:
    """`quarantine.jsonl`, under a temporary name until it is whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.partial")

    def __enter__(self) -> "Quarantine":
        self._file = self._temporary.open("w", encoding="utf-8")
        return self

    def add(self, entries: list[dict[str, Any]]) -> None:
        """Append entries, one JSON document a line."""
        self._file.writelines(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._file:
            self._file.flush()
            os.fsync(self._file.fileno())
        if kind is None:
            self._temporary.replace(self._path)
        self._temporary.unlink(missing_ok=True)


def _ids(table: pl.DataFrame) -> pl.Series:
    """Name of each row: its id, or item and annotator."""
    if "id" in table.columns:
        return table["id"].fill_null("(no id)").alias("id")
    if "annotator_id" in table.columns:
        return table.select(pl.format("{}/{}", "item_id", "annotator_id").alias("id"))["id"]
    return table["item_id"].alias("id")
