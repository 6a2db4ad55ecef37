"""Rows of a file, a `datasets` folder or a hub dataset, one after the other, each with the place it came from.

Nothing is held but the row at hand (Parquet and `datasets`: a batch), so a file may be larger than the memory; a `.json`
file that is one array, as small published sets are, is held as a whole. What is wrong is said in one sentence that names
file and line or row.
"""

import csv
import gzip
import io
import json
import math
import re
import sys
import zlib
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

from governance.errors import BadInput, MissingComponent
from tasks.progress import Advance, nobody

Row = dict[str, Any]
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
FILE_ENDINGS = (".jsonl", ".json", ".csv", ".parquet", ".gz")
FOREIGN_ENDINGS = (".tsv", ".xlsx", ".xls", ".ods", ".zip", ".zst", ".bz2", ".xz", ".arrow", ".feather", ".pkl", ".db")
HUB_TIMEOUT = 10.0  # seconds
BATCH = 1000


def read_rows(source: str, advance: Advance = nobody) -> Iterator[tuple[str, Row]]:
    """(place, row) pairs; a place reads `file: line 7`. `advance` hears of the bytes of the source that were read. Raises BadInput or MissingComponent with one sentence."""
    path = Path(source)
    if path.is_dir():
        rows = _saved_dataset(path, advance)
    elif not path.exists():
        rows = _hub_dataset(source)
    elif path.suffix.lower() in FOREIGN_ENDINGS:
        raise BadInput(f"{source}: {path.suffix} is not read; save it as JSON lines (.jsonl), CSV or Parquet.")
    else:
        rows = {"csv": _csv, "parquet": _parquet}.get(kind(source), _json_lines)(path, advance)
    found = False
    try:
        for pair in rows:
            found = True
            yield pair
    except PermissionError:
        raise BadInput(f"{source}: may not be read by this user; change its permissions.") from None
    if not found:
        empty = path.is_file() and path.stat().st_size == 0
        raise BadInput(f"{source}: {'is empty' if empty else 'has no rows'}; it must hold at least one row.")


def kind(source: str) -> str:
    """How a file is read, by its ending: csv, parquet, or json lines for every other; `.gz` after it is unpacked."""
    ending = Path(source.removesuffix(".gz")).suffix.removeprefix(".").lower()
    return ending if ending in ("csv", "parquet") else "json lines"


def size(source: str) -> int:
    """Bytes that `read_rows` will tell of; 0 for a hub dataset, which is not here yet."""
    path = Path(source)
    if path.is_dir():
        return sum(f.stat().st_size for f in _split_folder(path).glob("*.arrow"))
    return path.stat().st_size if path.is_file() else 0


def _lines(path: Path, advance: Advance) -> Iterator[str]:
    """Lines of a text file, unpacked if its name ends with .gz."""
    number = told = 0
    with path.open("rb") as raw:
        lines = io.BufferedReader(gzip.GzipFile(fileobj=raw)) if path.suffix == ".gz" else raw
        try:
            for number, line in enumerate(lines, start=1):
                yield line.decode("utf-8" if number > 1 else "utf-8-sig")
                if number % BATCH == 0:
                    advance(raw.tell() - told)
                    told = raw.tell()
        except UnicodeDecodeError:
            raise BadInput(f"{path}: line {number}: is not UTF-8; save the file as UTF-8.") from None
        except (gzip.BadGzipFile, zlib.error, EOFError):
            reason = f"the gzip data is damaged or cut off after line {number}" if number else "is not a gzip file"
            raise BadInput(f"{path}: {reason}; compress it again or remove the ending .gz.") from None
        advance(raw.tell() - told)


def _json_lines(path: Path, advance: Advance) -> Iterator[tuple[str, Row]]:
    if path.name.removesuffix(".gz").endswith(".json") and next(_lines(path, nobody), "").lstrip().startswith("["):
        yield from _json_array(path, advance)
        return
    for number, line in enumerate(_lines(path, advance), start=1):
        if not line.strip():
            continue
        place = f"{path}: line {number}"
        try:
            # without its end, or what lacks there would be told of column 1 of the next line
            row = _parsed(line.rstrip(), place)
        except json.JSONDecodeError as error:
            raise BadInput(
                f"{place}: is not valid JSON ({error.msg}, column {error.colno}); write one object a line."
            ) from None
        if not isinstance(row, dict):
            raise BadInput(f"{place}: is not a JSON object; write one object a line.")
        yield place, row


def _parsed(text: str, place: str) -> Any:
    """What a JSON text holds. Raises BadInput that names the place, but JSONDecodeError for what is no JSON."""
    try:
        value = json.loads(text)
        if "\\ud" in text or "\\uD" in text:  # half a surrogate pair is JSON, but no text
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise BadInput(f"{place}: is nested too deeply; write one flat object a line.") from None
    except UnicodeEncodeError:
        raise BadInput(f"{place}: holds half a surrogate pair (\\ud800 to \\udfff), which is no text.") from None
    return value


def _json_array(path: Path, advance: Advance) -> Iterator[tuple[str, Row]]:
    try:
        rows = _parsed("".join(_lines(path, advance)), str(path))
    except json.JSONDecodeError as error:
        raise BadInput(
            f"{path}: is no JSON array ({error.msg}, line {error.lineno}); write one object a line."
        ) from None
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise BadInput(f"{path}: item {number}: is not a JSON object; every item of the array must be one.")
        yield f"{path}: item {number}", row


def _csv(path: Path, advance: Advance) -> Iterator[tuple[str, Row]]:
    csv.field_size_limit(sys.maxsize)
    records = csv.reader(_lines(path, advance), strict=True)
    header: list[str] = []
    start = 1
    try:
        for cells in records:
            place, start = f"{path}: line {start}", records.line_num + 1
            if not cells:
                continue
            if not header:
                header = _header(cells, place)
            elif len(cells) != len(header):
                raise BadInput(
                    f"{place}: has {len(cells)} cells, the header has {len(header)}; put cells that hold commas, "
                    "quotes or line breaks in double quotes."
                )
            else:
                yield place, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise BadInput(
            f"{path}: line {start}: is not valid CSV ({error}); close the quotes, and double those inside a cell."
        ) from None


def _header(cells: list[str], place: str) -> list[str]:
    header = [cell.strip() for cell in cells]
    if header[0].startswith("{"):
        raise BadInput(f"{place}: is JSON, not the names of columns; give the file the ending .jsonl.")
    if len(header) == 1 and (found := re.search(r"[;\t|]", header[0])):
        raise BadInput(f"{place}: the cells are separated by {found.group()!r}; separate them by commas.")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise BadInput(f"{place}: names the column {twice[0]!r} twice; give every column a name of its own.")
    return header


def parquet_batches(path: Path, advance: Advance, batch: int = BATCH) -> Iterator[Any]:
    """Arrow record batches of a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pa.set_memory_pool(pa.system_memory_pool())  # Arrow's own keeps what it once had
    total = path.stat().st_size
    if path.suffix == ".gz":
        raise BadInput(f"{path}: Parquet is compressed by itself; unpack it, and name the file without .gz.")
    try:
        file = pq.ParquetFile(path, pre_buffer=False)  # holds the pages at hand, not a row group's
        for found in file.iter_batches(batch):
            yield found
            advance(round(total * found.num_rows / file.metadata.num_rows))
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, PermissionError):
            raise
        reason = str(error).splitlines()[0].rstrip(".")
        raise BadInput(f"{path}: cannot be read as Parquet ({reason}); write the file again.") from None


def _parquet(path: Path, advance: Advance) -> Iterator[tuple[str, Row]]:
    rows = (row for found in parquet_batches(path, advance) for row in found.to_pylist())
    yield from ((f"{path}: row {n}", row) for n, row in enumerate(rows, start=1))


def _split_folder(path: Path) -> Path:
    """Folder of the split to read in what `save_to_disk` wrote: `train`, or the only one."""
    several = path / "dataset_dict.json"
    try:
        names = json.loads(several.read_text(encoding="utf-8"))["splits"] if several.is_file() else []
    except (ValueError, KeyError, TypeError):
        raise BadInput(f"{several}: is damaged; save the dataset again.") from None
    folder = path / _one_split(names, str(path), "name the folder of one of them") if names else path
    if not (folder / "state.json").is_file():
        raise BadInput(f"{path}: is a folder that datasets.save_to_disk did not write; name a file in it.")
    return folder


def _one_split(names: list[str], where: str, otherwise: str) -> str:
    if "train" in names or len(names) == 1:
        return "train" if "train" in names else names[0]
    raise BadInput(f"{where}: has the splits {', '.join(names)}, and none is called train; {otherwise}.")


def _saved_dataset(path: Path, advance: Advance) -> Iterator[tuple[str, Row]]:
    folder = _split_folder(path)
    import datasets
    import pyarrow as pa

    total = size(str(path))
    try:
        loaded = datasets.load_from_disk(str(folder))
        yield from _dataset_rows(loaded, str(path), lambda rows: advance(round(total * rows / len(loaded))))
    except (FileNotFoundError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise BadInput(f"{path}: the saved dataset is damaged ({reason}); save it again.") from None


def hub_name(name: str) -> str:
    """`name`, which is no path here, as a hub name. Raises BadInput if it cannot be one."""
    if not HUB_NAME.fullmatch(name) or Path(name).suffix in FILE_ENDINGS:
        raise BadInput(f"{name}: there is no such file; correct the path in params.yaml or on the command line.")
    return name


def _hub_dataset(name: str) -> Iterator[tuple[str, Row]]:
    hub_name(name)
    import datasets
    import huggingface_hub
    from huggingface_hub.errors import HTTPError

    absent = f"{name}: is neither a file here nor to be had from the hub; check the name and the network."
    try:
        if not huggingface_hub.constants.HF_HUB_OFFLINE:  # asks once; load_dataset would try for half a minute
            huggingface_hub.HfApi().dataset_info(name, timeout=HUB_TIMEOUT)
        loaded = datasets.load_dataset(name)
    except (OSError, HTTPError, datasets.exceptions.DatasetsError):
        raise MissingComponent(absent) from None
    except ValueError as error:  # several configurations, no data files
        raise BadInput(f"{name}: {str(error).splitlines()[0].rstrip('.')}; save the part you mean as a file.") from None
    split = _one_split(list(loaded), name, "save the one you mean with save_to_disk and name its folder")
    yield from _dataset_rows(loaded[split], name, nobody)


def _dataset_rows(split: Any, name: str, read: Advance) -> Iterator[tuple[str, Row]]:
    done = 0
    for found in split.with_format("arrow").iter(batch_size=BATCH):
        yield from ((f"{name}: row {n}", row) for n, row in enumerate(found.to_pylist(), start=done + 1))
        done += found.num_rows
        read(found.num_rows)


def text(raw: Row, name: str, place: str) -> str | None:
    """An optional field of text; numbers and dates become text."""
    value = raw.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, date):  # datetime is one
        return value.isoformat()
    if isinstance(value, int | float):
        return str(value)
    raise BadInput(f"{place}: field {name}: is {kind_of(value)}; must be text.")


def number(raw: Row, name: str, place: str) -> float | None:
    """An optional field that holds a number."""
    value = raw.get(name)
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise BadInput(f"{place}: field {name}: {str(value)[:40]!r} is not a number; give a number or leave it out.")
    return number


def kind_of(value: Any) -> str:
    """What a value is, for a sentence."""
    names = {bool: "a truth value", int: "a number", float: "a number", dict: "an object", list: "a list"}
    return names.get(type(value), type(value).__name__)
