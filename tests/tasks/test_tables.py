"""Tables are whole or absent, and their digest depends neither on chunks nor on the way they are stored."""

from pathlib import Path

import polars as pl
import pytest

from tasks.tables import MESSAGES, ContentDigest, TableWriter, frame_of, read_chunks, write_table

SCHEMA = {"id": pl.String, "prompt": MESSAGES, "margin": pl.Float64, "choice": pl.Int8}
FRAME = frame_of(
    [
        {"id": f"ü{k}", "prompt": [{"role": "user", "content": f"Q\n{k}"}], "margin": k / 3 or None, "choice": k % 2}
        for k in range(500)
    ],
    SCHEMA,
)


def digest(chunks: list[pl.DataFrame]) -> str:
    found = ContentDigest()
    for chunk in chunks:
        found.update(chunk)
    return found.hexdigest()


@pytest.mark.parametrize("size", [1, 7, 499, 10_000])
def test_the_digest_does_not_depend_on_chunks(size: int) -> None:
    assert digest([FRAME]) == digest(list(FRAME.iter_slices(size)))
    assert digest([FRAME]) != digest([FRAME[1:]])


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    with TableWriter(path, SCHEMA) as out:
        for chunk in FRAME.iter_slices(100):
            out.write(chunk)
        assert not path.exists()
    assert out.rows == 500
    assert pl.read_parquet(path).equals(FRAME)
    assert pl.read_parquet(path).schema == FRAME.schema
    assert pl.concat(read_chunks(path)).equals(FRAME)
    assert pl.concat(read_chunks(path, ["margin"])).equals(FRAME.select("margin"))


def test_a_table_without_rows_has_its_columns(tmp_path: Path) -> None:
    write_table(FRAME[:0], tmp_path / "t.parquet")
    assert [chunk.schema for chunk in read_chunks(tmp_path / "t.parquet")] == [FRAME.schema]


def test_an_error_leaves_the_old_table_and_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_table(FRAME, path)
    with pytest.raises(ZeroDivisionError), TableWriter(path, SCHEMA) as out:
        out.write(FRAME[:10])
        1 / 0  # noqa: B018
    assert [p.name for p in tmp_path.iterdir()] == ["t.parquet"]
    assert pl.read_parquet(path).height == 500
