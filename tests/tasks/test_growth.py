"""What each further row costs in memory: measured in processes of their own, whose peak is told by the system."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.conftest import ROOT

MEASURED = """
import re, sys
from pathlib import Path
from tasks import params
{imports}
settings, folder = params.load(Path("params.yaml")), Path(sys.argv[1])
{call}
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""
POISONING = MEASURED.format(
    imports="from tasks.check_poisoning import run_check_poisoning",
    call='run_check_poisoning(folder / "pairs.jsonl", None, folder / "out", settings.poisoning, 7)',
)
ANNOTATORS = MEASURED.format(
    imports="from tasks.check_annotators import run_check_annotators",
    call='run_check_annotators(folder / "votes.parquet", None, folder / "out", settings.annotators)',
)
pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")


def peak(code: str, folder: Path) -> int:
    """Bytes that a process had resident at most."""
    command = [sys.executable, "-c", code, str(folder)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return int(done.stdout.splitlines()[-1]) * 1024


def pairs(folder: Path, n: int) -> None:
    """`n` pairs of about 150 words."""
    rng = np.random.default_rng(n)
    words = np.array([f"word{k}" for k in range(3000)])
    folder.mkdir()
    with (folder / "pairs.jsonl").open("w", encoding="utf-8") as out:
        for k, texts in enumerate(rng.choice(words, (n, 3, 50))):
            said = dict(zip(("prompt", "chosen", "rejected"), map(" ".join, texts), strict=True))
            out.write(json.dumps({"id": f"r{k}", **said}) + "\n")


def votes(folder: Path, n: int) -> None:
    """`n` votes, ten on an item, with everything that a file of votes may tell."""
    rng = np.random.default_rng(n)
    item = np.repeat(np.arange(n // 10), 10)
    folder.mkdir()
    pl.DataFrame(
        {
            "item_id": [f"item-{i:08d}" for i in item],
            "annotator_id": [f"person-{(7 * k + k // 10) % 400}" for k in range(n)],
            "choice": ((rng.random(n) < 0.8) == (item % 2 == 0)).astype(np.int8),
            "a_first": rng.random(n) < 0.5,
            "len_a": rng.integers(10, 500, n),
            "len_b": rng.integers(10, 500, n),
            "topic": [f"topic-{i % 9}" for i in item],
            "confidence": rng.random(n).round(2),
            "created_at": [f"2026-01-{1 + k % 28:02d}T{k % 24:02d}:{k % 60:02d}:00Z" for k in range(n)],
        }
    ).write_parquet(folder / "votes.parquet")


def test_a_row_of_preferences_costs_the_poisoning_check_a_few_kilobytes(tmp_path: Path) -> None:
    """Texts of a row take about a kilobyte; held as objects with all that is made of them, a row took twenty."""
    few, many = 3000, 15_000
    for n in (few, many):
        pairs(tmp_path / str(n), n)
    grown = peak(POISONING, tmp_path / str(many)) - peak(POISONING, tmp_path / str(few))
    assert grown / (many - few) < 8000


def test_a_vote_costs_the_annotator_check_a_hundred_bytes_or_so(tmp_path: Path) -> None:
    few, many = 100_000, 500_000
    for n in (few, many):
        votes(tmp_path / str(n), n)
    grown = peak(ANNOTATORS, tmp_path / str(many)) - peak(ANNOTATORS, tmp_path / str(few))
    assert grown / (many - few) < 200
