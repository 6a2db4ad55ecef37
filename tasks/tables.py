"""Tables on the disk: Parquet written whole or not at all, and a content digest that no encoding changes."""

import hashlib
from pathlib import Path

import polars as pl

Schema = dict[str, pl.DataType | type[pl.DataType]]

MESSAGES = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))
DERIVED_DEMONSTRATION = "demo-"  # before the id of the pair whose chosen answer it is
_CHUNK = 50_000


def write_table(frame: pl.DataFrame, path: Path) -> None:
    """Write Parquet under a temporary name and rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    frame.write_parquet(temporary, compression="zstd", statistics=False)
    temporary.replace(path)


def content_sha256(frame: pl.DataFrame) -> str:
    """SHA-256 over the rows, in order, as newline-delimited JSON: it does not depend on how they are stored."""
    digest = hashlib.sha256()
    for chunk in frame.iter_slices(_CHUNK):
        digest.update(chunk.write_ndjson().encode())
    return digest.hexdigest()
