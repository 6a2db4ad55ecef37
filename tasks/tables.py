"""Tables on the disk: Parquet read and written in chunks, whole or not at all, and a digest that no encoding changes."""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

Schema = dict[str, pl.DataType | type[pl.DataType]]

MESSAGES = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))
DERIVED_DEMONSTRATION = "demo-"  # before the id of the pair whose chosen answer it is
CHUNK = 50_000  # rows in memory at once, and in a row group


class TableWriter:
    """Parquet under a temporary name, renamed when the `with` block ends without an error; `rows` counts."""

    def __init__(self, path: Path, schema: Schema) -> None:
        self.path = path
        self.rows = 0
        self._temporary = path.with_name(f".{path.name}.partial")
        self._schema = arrow_schema(schema)

    def __enter__(self) -> "TableWriter":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._temporary.open("wb")
        self._writer = pq.ParquetWriter(self._file, self._schema, compression="zstd", write_statistics=False)
        return self

    def write(self, frame: pl.DataFrame) -> None:
        """Append rows: a row group for each `CHUNK` of them."""
        if frame.height:
            table = frame.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(self._schema)
            self._writer.write_table(table, row_group_size=CHUNK)
            self.rows += frame.height

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                self._writer.close()
                self._file.flush()
                os.fsync(self._file.fileno())
                self._temporary.replace(self.path)
            else:  # the first error is the one to tell of
                with contextlib.suppress(OSError):
                    self._writer.close()
        finally:
            self._temporary.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self._file.close()


class ContentDigest:
    """SHA-256 over the rows, in order, as newline-delimited JSON: it depends neither on how they are stored nor on
    the chunks in which they come."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def update(self, frame: pl.DataFrame) -> None:
        """Add rows."""
        self._digest.update(frame.write_ndjson().encode())

    def hexdigest(self) -> str:
        """Digest of all rows so far."""
        return self._digest.hexdigest()


def write_table(frame: pl.DataFrame, path: Path) -> None:
    """Write a table that is in memory."""
    with TableWriter(path, dict(frame.schema)) as out:
        out.write(frame)


def read_chunks(path: Path, columns: list[str] | None = None, *, rows: int = CHUNK) -> Iterator[pl.DataFrame]:
    """Rows of a Parquet file, at most `rows` at a time; one empty frame if it has none."""
    file = pq.ParquetFile(path)
    if file.metadata.num_rows == 0:
        yield pl.DataFrame(pl.from_arrow(file.schema_arrow.empty_table().select(columns or file.schema_arrow.names)))
    for batch in file.iter_batches(rows, columns=columns):
        yield pl.DataFrame(pl.from_arrow(batch))


def count_rows(path: Path) -> int:
    """Number of rows of a Parquet file, from its footer."""
    return int(pq.ParquetFile(path).metadata.num_rows)


def arrow_schema(schema: Schema) -> pa.Schema:
    """The Arrow schema of a table."""
    return pl.DataFrame(schema=schema).to_arrow(compat_level=pl.CompatLevel.oldest()).schema


def frame_of(rows: list[dict[str, Any]], schema: Schema) -> pl.DataFrame:
    """Rows as a frame; by way of Arrow, which takes nested values from Python several times faster than polars."""
    arrow = arrow_schema(schema)
    columns = [pa.array([row[name] for row in rows], type=arrow.field(name).type) for name in schema]
    return pl.DataFrame(pl.from_arrow(pa.Table.from_arrays(columns, schema=arrow)))
