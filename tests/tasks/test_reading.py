"""Files that are damaged, or not what their name says, end in one sentence that names the place; good ones stream."""

import gzip
import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from governance.errors import BadInput, MissingComponent
from tasks.reading import read_rows, size

ROOT = Path(__file__).resolve().parents[2]
ROWS = [{"prompt": f"p{k}", "chosen": 'a, "quoted"\nb', "rejected": "c"} for k in range(2500)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def refusal(path: Path) -> str:
    with pytest.raises(BadInput) as error:
        list(read_rows(str(path)))
    said = str(error.value)
    assert str(path) in said
    assert "\n" not in said
    assert said.endswith(".")
    return said


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("e.jsonl", b"", ["is empty"]),
        ("w.jsonl", b" \n\t\n", ["has no rows"]),
        ("e.csv", b"", ["is empty"]),
        ("h.csv", b"prompt,chosen\n", ["has no rows"]),
        ("e.parquet", b"", ["Parquet"]),
        ("l.jsonl", LINES + b'{"prompt": \n', ["line 2501", "not valid JSON", "column 11"]),
        ("c.jsonl", LINES + b"p,chosen,rejected\n", ["line 2501", "not valid JSON"]),
        ("t.tsv", b"a\tb\n1\t2\n", [".tsv", "CSV"]),
        ("x.xlsx", b"PK", [".xlsx", "Parquet"]),
        ("p.parquet.gz", b"\x1f\x8b", ["unpack it"]),
        ("s.csv", b"prompt;chosen\na;b\n", ["line 1", "';'", "commas"]),
        ("a.jsonl", b"[1]\n", ["line 1", "not a JSON object"]),
        ("a.json", b'[{"a": 1},\n {"a": }]', ["no JSON array", "line 2"]),
        ("b.json", b'[{"a": 1}, 2]', ["item 2", "not a JSON object"]),
        ("e.json", b"[]", ["has no rows"]),
        ("s.json", b'[{"a": "\\ud83d"}]', ["surrogate"]),
        ("d.jsonl", b'{"a":' * 100_000 + b"\n", ["line 1", "deep"]),
        ("s.jsonl", b'{"a": "\\ud83d\\ude00"}\n{"a": "\\ud83d"}\n', ["line 2", "surrogate"]),
        ("u.jsonl", LINES + 'ü{"a": 1}\n'.encode("latin-1"), ["line 2501", "not UTF-8"]),
        ("u16.jsonl", '{"a": 1}\n'.encode("utf-16"), ["line 1", "not UTF-8"]),
        ("u.csv", 'a,b\n"x\ny",2\nü,3\n'.encode("latin-1"), ["line 4", "not UTF-8"]),
        ("q.csv", b'a,b\n1,"open\n2,3\n', ["line 2", "not valid CSV", "quotes"]),
        ("i.csv", b'a,b\n"x"y,2\n', ["line 2", "not valid CSV"]),
        ("n.csv", b'a,b\n"x\ny",2\n1,2,3\n', ["line 4", "3 cells", "header has 2"]),
        ("t.csv", b"a,b,a\n1,2,3\n", ["line 1", "'a' twice"]),
        ("j.csv", LINES, ["line 1", "JSON", ".jsonl"]),
        ("p.jsonl", b"PAR1\xff\xfe", ["line 1", "not UTF-8"]),
        ("p.parquet", b"PAR1 no", ["Parquet"]),
        ("x.jsonl.gz", b"x", ["gzip", ".gz"]),
        ("t.jsonl.gz", gzip.compress(LINES, mtime=0)[:-100], ["cut off after line"]),
        ("b.csv.gz", gzip.compress(b"a,b\n1,2\n", mtime=0)[:-4], ["gzip"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_file_is_refused_with_its_place(name: str, content: bytes, words: list[str], tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    said = refusal(tmp_path / name)
    assert all(word in said for word in words), said


def test_a_damaged_parquet_file_is_refused(tmp_path: Path) -> None:
    import polars as pl

    whole = tmp_path / "whole.parquet"
    pl.DataFrame(ROWS).write_parquet(whole)
    for cut in (0.3, 0.9):
        (tmp_path / "cut.parquet").write_bytes(whole.read_bytes()[: int(cut * whole.stat().st_size)])
        assert "Parquet" in refusal(tmp_path / "cut.parquet")
    damaged = bytearray(whole.read_bytes())
    damaged[8:200] = bytes(192)
    (tmp_path / "damaged.parquet").write_bytes(damaged)
    refusal(tmp_path / "damaged.parquet")


def save(kind: str, path: Path) -> None:
    import datasets
    import polars as pl

    if kind == "jsonl":
        path.write_bytes(LINES)
    elif kind == "jsonl.gz":
        path.write_bytes(gzip.compress(LINES, mtime=0))
    elif kind == "csv":
        pl.DataFrame(ROWS).write_csv(path)
    elif kind == "parquet":
        pl.DataFrame(ROWS).write_parquet(path, row_group_size=700)
    else:
        given = datasets.Dataset.from_list(ROWS)
        splits = datasets.DatasetDict({"test": given.select([0]), "train": given})
        (splits if kind == "splits" else given).save_to_disk(str(path))


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "csv", "parquet", "folder", "splits"])
def test_every_kind_gives_the_rows_and_tells_of_every_byte(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"Größe und 数据 {kind}.{kind}"
    save(kind, path)
    told: list[int] = []
    found = list(read_rows(str(path), told.append))
    assert [row for _, row in found] == ROWS
    assert len({place for place, _ in found}) == len(ROWS)
    assert sum(told) == pytest.approx(size(str(path)), rel=0.001)
    assert len(told) > 1


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_bytes(b"\xef\xbb\xbfid,b\n1,2\n")
    (tmp_path / "b.jsonl").write_bytes(b'\xef\xbb\xbf{"id": "1", "b": "2"}\n')
    for name in ("b.csv", "b.jsonl"):
        assert [row for _, row in read_rows(str(tmp_path / name))] == [{"id": "1", "b": "2"}]


def test_folders_that_hold_no_dataset_or_several(tmp_path: Path) -> None:
    import datasets

    (tmp_path / "plain").mkdir()
    assert "save_to_disk" in refusal(tmp_path / "plain")
    one = datasets.Dataset.from_list(ROWS[:3])
    datasets.DatasetDict({"a": one, "b": one}).save_to_disk(str(tmp_path / "two"))
    assert "splits a, b" in refusal(tmp_path / "two")
    assert len(list(read_rows(str(tmp_path / "two/b")))) == 3
    one.save_to_disk(str(tmp_path / "cut"))
    arrow = next((tmp_path / "cut").glob("*.arrow"))
    arrow.write_bytes(arrow.read_bytes()[:100])
    assert "damaged" in refusal(tmp_path / "cut")


def test_a_hub_name_without_a_network_is_said_within_seconds() -> None:
    """On line, in a process of its own: this one is off line. Nothing listens at the port."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        code = "from tasks.reading import read_rows\nnext(read_rows('nobody/none'))"
        environment: dict[str, Any] = {
            "HF_ENDPOINT": address,
            "HF_HUB_OFFLINE": "0",
            "PATH": "",
            "PYTHONPATH": str(ROOT),
        }
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=False
        )
    assert "MissingComponent: nobody/none: is neither a file here nor to be had from the hub" in done.stderr
    assert "Retrying in" not in done.stderr
    assert time.monotonic() - started < 60  # imports on a busy machine; without the question first, 27 s more


def test_an_absent_file_is_no_hub_name(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such file"):
        next(read_rows(str(tmp_path / "absent.jsonl")))
    with pytest.raises(BadInput, match="no such file"):
        next(read_rows("data/absent.parquet"))
    with pytest.raises(MissingComponent, match="nobody/none"):  # off line
        next(read_rows("nobody/none"))


def test_a_json_array_gives_its_items_in_order(tmp_path: Path) -> None:
    file = tmp_path / "set.json"
    file.write_text(json.dumps([{"a": 1}, {"a": 2}], indent=2), encoding="utf-8")
    assert list(read_rows(str(file))) == [(f"{file}: item 1", {"a": 1}), (f"{file}: item 2", {"a": 2})]
    file.write_text('{"a": 1}\n{"a": 2}\n', encoding="utf-8")
    assert [row for _, row in read_rows(str(file))] == [{"a": 1}, {"a": 2}]
