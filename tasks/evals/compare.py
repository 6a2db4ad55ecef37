"""What several evaluations do with a figure for each response: its mean by model, and the policy against SFT."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tasks.evals.bench import Bench
from tasks.evals.result import Result


def by_model(
    bench: Bench,
    metric: str,
    values: Mapping[str, np.ndarray],
    clusters: np.ndarray,
    data: Mapping[str, Path | str],
    slice: str | None = None,
    steps: Sequence[tuple[str, str]] = (("policy", "sft"),),
) -> list[Result]:
    """`metric/<model>` of each model, and `metric/<after>_minus_<before>` of each step: paired differences.

    `values`: (N,) by model, row by row about the same item; `clusters`: (N,) items that are drawn together.
    """
    n = len(np.unique(clusters))
    found = [bench.result(f"{metric}/{m}", bench.mean(v, clusters), n, data, [m], slice) for m, v in values.items()]
    for after, before in steps:
        if after in values and before in values:
            estimate = bench.mean(values[after] - values[before], clusters)
            found.append(bench.result(f"{metric}/{after}_minus_{before}", estimate, n, data, [after, before], slice))
    return found
