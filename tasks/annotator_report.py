"""The report that a person opens: a page that needs no network, the same content as JSON and CSV, and a picture."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from governance.digest import write_atomic, write_json
from tasks.plots import canvas, save


def write_pages(table: pl.DataFrame, summary: dict[str, Any], out: Path) -> None:
    """Write annotators.csv, summary.json and reliability.png."""
    write_atomic(out / "annotators.csv", table.write_csv(float_precision=6))
    write_json(out / "summary.json", summary)
    figure, (axis,) = canvas(1, "Annotators" + (" (simulated)" if summary.get("simulated") else ""))
    for flag, colour in ((False, "tab:blue"), (True, "tab:red")):
        part = table.filter(pl.col("flag") == flag)
        reliability = part["reliability"].to_numpy()
        error = np.abs(np.array([reliability - part["low"].to_numpy(), part["high"].to_numpy() - reliability]))
        label = "flagged" if flag else "not flagged"
        axis.errorbar(
            part["n_votes"].to_numpy(), reliability, yerr=error, fmt=".", color=colour, alpha=0.6, label=label
        )
    axis.set(xlabel="votes", ylabel="reliability", ylim=(0, 1))
    axis.axhline(0.5, color="0.6", linewidth=1)
    axis.legend(fontsize=7)
    save(figure, out / "reliability.png")
