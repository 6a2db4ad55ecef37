"""Whom to trust: reliability, golden audit and weight of every annotator, from votes alone or with golden items.

Used by the stage `annotators` and by `attestrl check annotators`. Nobody's vote is ever turned round.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy.special import expit
from scipy.stats import beta

from governance.digest import write_atomic, write_json
from tasks.params import Annotators
from tasks.plots import canvas, save
from tasks.stats.dawid_skene import PRIOR, one_coin
from tasks.stats.false_discovery import bayesian_fdr
from tasks.stats.golden import golden_audit
from tasks.stats.unreliable import probability_unreliable

LEAST_WEIGHT = 0.05  # an annotator who is not flagged keeps a little say


@dataclass(frozen=True)
class AnnotatorReport:
    """`table`: a row an annotator, the most suspect first; `summary`: figures and a sentence for people."""

    table: pl.DataFrame
    summary: dict[str, Any]


def check_annotators(votes: pl.DataFrame, golden: pl.DataFrame | None, settings: Annotators) -> AnnotatorReport:
    """Judge every annotator in `votes` (columns as in `tasks.votes.VOTES`)."""
    votes = votes.unique(["item_id", "annotator_id"], keep="first", maintain_order=True)
    if votes.height == 0:
        return AnnotatorReport(_table({}), {"summary": "There are no votes, so nothing is known of annotators."})
    who, names = _codes(votes["annotator_id"])
    item, items = _codes(votes["item_id"])
    choice = votes["choice"].to_numpy().astype(np.int64)
    known = _known_answers(items, golden)
    fitted = one_coin(who, item, choice, known)
    informative = np.bincount(item)[item] > 1  # alone on an item, a vote is judged by nobody
    counts = np.bincount(who, weights=informative, minlength=len(names))
    agreeing = np.bincount(who, weights=fitted.own_left_out * informative, minlength=len(names))
    log_odds = probability_unreliable(agreeing, counts)
    judged = (counts >= settings.min_votes) & (len(names) > 1)
    log_odds = np.where(judged, log_odds, np.minimum(log_odds, 0.0))
    unreliable = np.zeros(len(names), dtype=bool)
    unreliable[judged] = bayesian_fdr(expit(log_odds[judged]), settings.max_false_discovery_rate)
    on_golden = known[item] >= 0
    n_golden = np.bincount(who, weights=on_golden, minlength=len(names)).astype(int)
    correct = np.bincount(who, weights=on_golden & (choice == known[item]), minlength=len(names)).astype(int)
    failed, _ = golden_audit(correct, n_golden, settings.golden_level)
    low, high = (beta.ppf(q, PRIOR[0] + fitted.right, PRIOR[1] + fitted.counts - fitted.right) for q in (0.025, 0.975))
    flag = unreliable | failed
    columns = {
        "annotator_id": names,
        "flag": flag,
        "score": log_odds,
        "weight": np.where(flag, 0.0, np.clip(2 * low - 1, LEAST_WEIGHT, 1.0)),
        "reason": _reasons(unreliable, failed, judged, fitted.reliability, correct, n_golden),
        "n_votes": fitted.counts.astype(int),
        "reliability": fitted.reliability,
        "low": low,
        "high": high,
        "n_golden": n_golden,
        "golden_correct": correct,
        "simulated": np.full(len(names), bool(votes["simulated"].any())),
    }
    table = _table(columns).sort("score", descending=True, maintain_order=True)
    return AnnotatorReport(table, _summary(table, votes, settings, golden, int(n_golden.sum())))


def _codes(column: pl.Series) -> tuple[np.ndarray, list[str]]:
    """(integer codes by first appearance, the values)."""
    values = column.unique(maintain_order=True)
    table = pl.DataFrame({column.name: values, "code": np.arange(len(values))})
    return column.to_frame().join(table, on=column.name, how="left", maintain_order="left")[
        "code"
    ].to_numpy(), values.to_list()


def _known_answers(items: list[str], golden: pl.DataFrame | None) -> np.ndarray:
    known = np.full(len(items), -1)
    if golden is not None and golden.height:
        answers = dict(zip(golden["item_id"].to_list(), golden["gold_choice"].to_list(), strict=True))
        for k, name in enumerate(items):
            known[k] = answers.get(name, -1)
    return known


def _reasons(
    unreliable: np.ndarray,
    failed: np.ndarray,
    judged: np.ndarray,
    reliability: np.ndarray,
    correct: np.ndarray,
    n_golden: np.ndarray,
) -> list[str]:
    out = []
    for k in range(len(reliability)):
        said = []
        if unreliable[k]:
            said.append(f"agrees with the others no more than guessing would (reliability {reliability[k]:.2f})")
        if failed[k]:
            said.append(f"right on {correct[k]} of {n_golden[k]} golden items only")
        if not said:
            said.append("nothing against" if judged[k] else "too few votes to judge")
        out.append("; ".join(said))
    return out


def _table(columns: dict[str, Any]) -> pl.DataFrame:
    schema = {
        "annotator_id": pl.String,
        "flag": pl.Boolean,
        "score": pl.Float64,
        "weight": pl.Float64,
        "reason": pl.String,
        "n_votes": pl.Int64,
        "reliability": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "n_golden": pl.Int64,
        "golden_correct": pl.Int64,
        "simulated": pl.Boolean,
    }
    return pl.DataFrame(columns, schema=schema) if columns else pl.DataFrame(schema=schema)


def _summary(
    table: pl.DataFrame, votes: pl.DataFrame, settings: Annotators, golden: pl.DataFrame | None, on_golden: int
) -> dict[str, Any]:
    flagged = table.filter("flag")
    simulated = bool(votes["simulated"].any())
    share = flagged["n_votes"].sum() / votes.height
    said = (
        f"{table.height} annotators{' (simulated)' if simulated else ''} gave {votes.height} votes; {flagged.height} "
        f"of them, with {share:.1%} of the votes, are not to be trusted."
    )
    if table.height == 1:
        said += " With a single annotator there is nobody to compare with: nothing can be said."
    if golden is not None and golden.height and on_golden == 0:
        said += " No golden item is among the votes, so the golden audit says nothing."
    return {
        "summary": said,
        "votes": votes.height,
        "annotators": table.height,
        "flagged": flagged.height,
        "flagged_share": flagged.height / table.height,
        "flagged_votes_share": float(share),
        "golden_votes": on_golden,
        "mean_reliability": float(table["reliability"].to_numpy().mean()),
        "simulated": simulated,
        "method": "one-coin Dawid–Skene, empirical-Bayes false-discovery control, golden audit",
        "settings": settings.model_dump(),
    }


def write_report(report: AnnotatorReport, out: Path) -> None:
    """Write annotators.csv, summary.json and reliability.png."""
    write_atomic(out / "annotators.csv", report.table.write_csv(float_precision=6))
    write_json(out / "summary.json", report.summary)
    figure, (axis,) = canvas(1, "Annotators" + (" (simulated)" if report.summary.get("simulated") else ""))
    for flag, colour in ((False, "tab:blue"), (True, "tab:red")):
        part = report.table.filter(pl.col("flag") == flag)
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


def run_check_annotators(votes: Path, golden: Path | None, out: Path, settings: Annotators) -> dict[str, Any]:
    """Check a vendor's file and write the report to `out`; ids stay as the file has them."""
    from tasks.votes import read_golden, read_votes, refuse_foreign_golden

    table, left_out = read_votes(str(votes))
    known = read_golden(str(golden)) if golden else None
    if known is not None:
        refuse_foreign_golden(known, set(table["item_id"]), str(golden), str(votes))
    report = check_annotators(table, known, settings)
    if left_out:
        report.summary["left_out"] = left_out
        report.summary["summary"] += f" {left_out} rows were left out: their label is not a choice between two."
    write_report(report, out)
    return report.summary
