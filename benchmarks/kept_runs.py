"""Measurements that are kept as they are made, so that a benchmark which was stopped goes on where it was."""

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any


def kept_runs(
    file: Path | None, what: dict[str, Any], seeds: Iterable[int], measure: Callable[[int], dict[str, Any]]
) -> list[dict[str, Any]]:
    """A run for each seed. Those of `what` that `file` (JSON lines) holds are taken from there, others are measured and
    added to it."""
    known: dict[int, dict[str, Any]] = {}
    if file and file.is_file():
        lines = [json.loads(line) for line in file.open(encoding="utf-8")]
        known = {r["seed"]: r for r in lines if what.items() <= r.items()}
    runs = []
    for seed in seeds:
        if seed not in known:
            known[seed] = what | {"seed": seed} | measure(seed)
            line = json.dumps(known[seed])
            print(line, file=sys.stderr)
            if file:
                with file.open("a", encoding="utf-8") as out:
                    out.write(line + "\n")
        runs.append(known[seed])
    return runs
