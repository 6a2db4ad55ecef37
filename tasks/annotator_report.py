"""The report that a person opens: a page that needs no network, the same content as JSON, the table, and pictures."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from governance.digest import write_atomic, write_json
from tasks.annotator_scatter import scatter
from tasks.pages import rendered
from tasks.plots import canvas, save
from tasks.stats.intervals import wilson

SHOWN = 1000  # annotators with an entry of their own on the page; annotators.csv has all
FILES = ("report.html", "report.json", "annotators.csv", "summary.json")
PICTURES = ("reliability.png", "calibration.png")


def marked(simulated: int, people: int) -> str:
    """What is said behind a number of people, of whom so many are simulated."""
    if not simulated:
        return ""
    return " (simulated)" if simulated == people else f" ({simulated} simulated)"


def write_pages(table: pl.DataFrame, summary: dict[str, Any], out: Path, *, named: bool) -> None:
    """Write the `FILES`. `named`: ids are pseudonyms already; else the page calls people by their row of annotators.csv."""
    write_atomic(out / "annotators.csv", table.write_csv(float_precision=6))
    write_json(out / "summary.json", summary)
    content = _content(table, summary, named=named)
    write_json(out / "report.json", content)
    people = _numbered(table, named=named) if table.height and "n_votes" in table.columns else None
    write_atomic(
        out / "report.html",
        rendered("annotators_report.html.j2", **content, scatter=None if people is None else scatter(people)),
    )


def write_pictures(table: pl.DataFrame, summary: dict[str, Any], out: Path) -> None:
    """Write the `PICTURES` that there is something to show in."""
    title = "Annotators" + marked(summary.get("simulated_annotators", 0), table.height)
    if "n_votes" in table.columns:
        figure, (axis,) = canvas(1, title)
        for flag, colour in ((False, "tab:blue"), (True, "tab:red")):
            part = table.filter(pl.col("flag") == flag)
            reliability = part["reliability"].to_numpy()
            error = np.abs(np.array([reliability - part["low"].to_numpy(), part["high"].to_numpy() - reliability]))
            label = "flagged" if flag else "not flagged"
            votes = part["n_votes"].to_numpy()
            axis.errorbar(votes, reliability, yerr=error, fmt=".", color=colour, alpha=0.6, label=label)
        axis.set(xlabel="votes", ylabel="reliability", ylim=(0, 1), xscale="log")
        axis.axhline(0.5, color="0.6", linewidth=1)
        axis.legend(fontsize=7)
        save(figure, out / PICTURES[0])
    if curve := summary.get("calibration"):
        figure, (axis,) = canvas(1, title)
        stated, right = ([point[name] for point in curve] for name in ("confidence", "right"))
        error = np.array([[p["right"] - p["low"], p["high"] - p["right"]] for p in curve]).clip(0).T
        axis.errorbar(stated, right, yerr=error, fmt="o-")
        axis.plot([0, 1], [0, 1], color="0.6", linewidth=1)
        axis.set(xlabel="stated confidence", ylabel="share right", xlim=(0, 1), ylim=(0, 1))
        save(figure, out / PICTURES[1])


def _numbered(table: pl.DataFrame, *, named: bool) -> pl.DataFrame:
    """The table with `number`, the row in annotators.csv, and `label`, what the page calls a person."""
    numbered = table.with_row_index("number", offset=1)
    label = pl.col("annotator_id") if named else pl.format("no. {}", "number")
    return numbered.with_columns(label.alias("label"))


def _content(table: pl.DataFrame, summary: dict[str, Any], *, named: bool) -> dict[str, Any]:
    if "n_votes" not in table.columns:
        return {"summary": summary, "people": [], "more": 0, "named": named, "to_do": []}
    people = (
        _numbered(table, named=named)
        .filter(pl.col("action") != "weight")
        .sort("flag", descending=True, maintain_order=True)
    )
    return {
        "summary": summary,
        "to_do": _to_do(summary),
        "people": [_person(row) for row in people[:SHOWN].iter_rows(named=True)],
        "more": max(0, people.height - SHOWN),
        "named": named,
    }


def _person(row: dict[str, Any]) -> dict[str, Any]:
    """What the page says of an annotator; shares with their 95 % intervals."""
    n = row["n_votes"]
    shares = {
        name: {"share": value, "votes": votes, "low": low, "high": high}
        for name, value, votes in (
            ("right on golden items", row["golden_correct"] / row["n_golden"] if row["n_golden"] else None, row["n_golden"]),
            ("agrees with others", row["agreement"], n),
            *((name.replace("takes_", "").replace("_", " "), row[name], n) for name in row if name.startswith("takes_")),
        )
        if value is not None
        for low, high in [wilson(round(value * votes), votes)]
    }  # fmt: skip
    kept = ("number", "label", "flag", "action", "reason", "score", "weight", "n_votes", "reliability", "low", "high",
            "seconds_per_vote", "overconfidence", "group")  # fmt: skip
    return {name: row[name] for name in kept} | {"shares": shares}


def _to_do(summary: dict[str, Any]) -> list[str]:
    """What follows from it, in plain words."""
    said = []
    if summary["flagged"]:
        said.append(
            f"Leave out the votes of the {summary['flagged']} flagged annotators (weight 0 in annotators.csv), have "
            "their items voted on anew, and let a person read some of their answers before anybody is blamed."
        )
    if summary["actions"]["human review"]:
        said.append(
            f"Look at the {summary['actions']['human review']} others named below: what was noticed about them is no proof."
        )
    if summary["disagreements"]:
        said.append("Decide whose view a disputed topic should follow, or keep both: that is a question of policy.")
    advice = summary["golden_advice"]
    if advice is None:
        said.append(
            "Mix golden items in: without them, a majority that is wrong together cannot be told from a right one."
        )
    else:
        need = advice["needed_against_inverters"]
        if need and need > advice["golden_items_per_annotator"]:
            said.append(
                f"Give every annotator about {need} golden items instead of {advice['golden_items_per_annotator']}: with "
                f"so many, {advice['power_wanted']:.0%} of inverters fail them."
            )
        if advice["retire"]:
            said.append(f"Retire {len(advice['retire'])} golden items: careful annotators contradict their answer.")
    return said or ["Nothing: the votes can be used as they are, with the weights in annotators.csv."]
