"""Rows of a file, a `datasets` folder or a hub dataset, each with the place it came from; errors name file and line."""

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from governance.errors import BadInput, MissingComponent

Row = dict[str, Any]
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def read_rows(source: str) -> Iterator[tuple[str, Row]]:
    """(place, row) pairs; a place reads `file: line 7`. Raises BadInput or MissingComponent with one sentence."""
    path = Path(source)
    if path.is_dir():
        yield from _saved_dataset(path)
    elif not path.exists():
        yield from _hub_dataset(source)
    else:
        suffixes = [s for s in path.suffixes[-2:] if s != ".gz"]
        reader = {".csv": _csv, ".parquet": _parquet}.get(suffixes[-1] if suffixes else "", _json_lines)
        if path.stat().st_size == 0:
            raise BadInput(f"{source}: is empty; it must hold at least one row.")
        rows = False
        for place, row in reader(path):
            rows = True
            yield place, row
        if not rows:
            raise BadInput(f"{source}: has no rows; it must hold at least one.")


def _json_lines(path: Path) -> Iterator[tuple[str, Row]]:
    number = 0
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        try:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise BadInput(f"{path}: line {number}: is not a JSON object; write one object a line.")
                yield f"{path}: line {number}", row
        except json.JSONDecodeError as error:
            raise BadInput(f"{path}: line {number}: is not valid JSON ({error.msg}, column {error.colno}).") from None
        except UnicodeDecodeError:
            raise BadInput(f"{path}: after line {number}: is not UTF-8; save the file as UTF-8.") from None
        except gzip.BadGzipFile:
            raise BadInput(f"{path}: is not a gzip file; compress it again or remove the ending .gz.") from None


def _csv(path: Path) -> Iterator[tuple[str, Row]]:
    try:
        frame = pl.read_csv(path, infer_schema=False)
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        reason = "is not UTF-8; save it as UTF-8" if "utf" in str(error).lower() else str(error).splitlines()[0]
        raise BadInput(f"{path}: cannot be read as CSV: {reason}.") from None
    yield from ((f"{path}: line {n}", row) for n, row in enumerate(frame.iter_rows(named=True), start=2))


def _parquet(path: Path) -> Iterator[tuple[str, Row]]:
    try:
        frame = pl.read_parquet(path)
    except pl.exceptions.PolarsError as error:
        raise BadInput(f"{path}: cannot be read as Parquet: {str(error).splitlines()[0]}.") from None
    yield from ((f"{path}: row {n}", row) for n, row in enumerate(frame.iter_rows(named=True), start=1))


def _saved_dataset(path: Path) -> Iterator[tuple[str, Row]]:
    import datasets

    try:
        loaded = datasets.load_from_disk(str(path))
    except (FileNotFoundError, ValueError):
        raise BadInput(f"{path}: is a folder that datasets.save_to_disk did not write; name a file in it.") from None
    yield from _dataset_rows(loaded, str(path))


def hub_name(name: str) -> str:
    """`name`, which is no path here, as a hub name. Raises BadInput if it cannot be one."""
    if not HUB_NAME.fullmatch(name) or Path(name).suffix in (".jsonl", ".csv", ".parquet", ".json", ".gz"):
        raise BadInput(f"{name}: there is no such file; correct the path in params.yaml or on the command line.")
    return name


def _hub_dataset(name: str) -> Iterator[tuple[str, Row]]:
    import datasets

    try:
        loaded = datasets.load_dataset(hub_name(name))
    except (OSError, datasets.exceptions.DatasetsError):
        raise MissingComponent(
            f"{name}: is neither a file here nor to be had from the hub; check the name and the network."
        ) from None
    yield from _dataset_rows(loaded, name)


def _dataset_rows(loaded: Any, name: str) -> Iterator[tuple[str, Row]]:
    """The `train` split of a dataset with several, or the only one."""
    split = loaded
    if hasattr(loaded, "keys"):
        split = loaded["train"] if "train" in loaded else loaded[next(iter(loaded))]
    yield from ((f"{name}: row {n}", dict(row)) for n, row in enumerate(split, start=1))
