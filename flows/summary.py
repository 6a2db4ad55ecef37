"""What a person sees of a run: a line a stage while it goes on, a summary at the end."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.stages import Outcome

WORDS = {"made": "green", "cached": "cyan", "failed": "red", "skipped": "dim"}


class Live:
    """Prints on standard error what the run does; the stages' own progress bars appear between the lines."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.console.print("starting the orchestrator …", style="dim")

    def on_stage(self, name: str, outcome: Outcome | None) -> None:
        """`outcome` is None when the stage begins."""
        if outcome is None:
            self.console.print(f"▸ {name}", style="bold")
            return
        colour = WORDS[outcome.outcome]
        self.console.print(f"  [{colour}]{outcome.outcome}[/] {outcome.seconds:.1f} s")


def print_run(record: dict[str, Any]) -> None:
    """The run in people's words, on standard output."""
    out = Console(highlight=False, soft_wrap=True)
    out.print(f"\n[bold]Run {record['run_id']}: {record['status']}[/]  {record.get('seconds', 0):.0f} s")
    out.print(_stages(record["stages"]))
    if record["metrics"]:
        out.print(_metrics(record["metrics"]))
    gate = record["gate"]
    out.print(f"[bold]Release gate: {gate['verdict']}[/]")
    for reason in gate["reasons"]:
        out.print(f"  • {escape(reason)}")
    if record.get("policy"):
        policy = record["policy"]
        out.print(
            f"Policy: {policy['name']} version {policy['version']}, sha256 {policy['sha256'][:12]}…, {policy['path']}"
        )
    if record.get("round"):
        out.print(f"[bold]Rounds:[/] {escape(record['round']['sentence'])}")
        for row in record["round"]["measured"]:
            out.print(f"  • {_right_on(row)}")
    if record.get("stale"):
        out.print(f"[bold]Evaluation: {escape(record['stale'])}[/]")
    if record["records"]:
        out.print(f"Records: {Path(record['records'][0]).parent} ({len(record['records'])} files)")
    for line in record.get("next", []):
        out.print(f"→ {escape(line)}")


def _right_on(row: dict[str, Any]) -> str:
    """How right a round's reward model was on its policy's answers."""
    said = {"at_random": "drawn at random", "chosen": "chosen"}
    figures = [
        f"{f['value']:.0%} [{f['low']:.0%}, {f['high']:.0%}] of {f['n']} {words}"
        for name, words in said.items()
        if (f := row[name])
    ]
    return f"round {row['round']}: its reward model was right on {' and '.join(figures) or 'none'}"


def _stages(stages: list[dict[str, Any]]) -> Table:
    table = Table("stage", "outcome", "seconds", "output", "sha256", box=None, pad_edge=False)
    for stage in stages:
        outputs = [o for o in stage["outputs"] if not o["path"].startswith("data/reports")] or [
            {"path": "", "sha256": ""}
        ]
        for number, output in enumerate(outputs):
            first = [stage["name"], f"[{WORDS[stage['outcome']]}]{stage['outcome']}[/]", f"{stage['seconds']:.1f}"]
            table.add_row(*(first if number == 0 else ["", "", ""]), output["path"], output["sha256"][:12])
    return table


def _metrics(metrics: dict[str, Any]) -> Table:
    table = Table("metric", "value", "interval", "n", box=None, pad_edge=False)
    for name, figure in metrics.items():
        low, high, n = figure.get("low"), figure.get("high"), figure.get("n")
        interval = "" if low is None else f"{low:.3f} – {high:.3f}"
        table.add_row(name, f"{figure['value']:.3f}", interval, "" if n is None else str(n))
    return table


def print_verification(found: dict[str, Any]) -> None:
    """Whether a run made again gave the same bytes, and where it did not."""
    console = Console(highlight=False, soft_wrap=True)
    said = "the same bytes" if found["same"] else f"{len(found['differ'])} of them differ"
    console.print(f"{found['run_id']} made again: {found['compared']} tables, models and figures, {said}.")
    for one in found["differ"]:
        console.print(f"  {escape(one['path'])}: {one['then'][:12]} then, {(one['now'] or 'missing')[:12]} now")


def print_evaluation(found: dict[str, Any]) -> None:
    """Verdict, one line a bound, and where the report is."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"[bold]{escape(found['sentence'])}[/]")
    for h in found["hypotheses"]:
        bound = f"≥ {h['at_least']:g}" if h["at_least"] is not None else f"≤ {h['at_most']:g}"
        figure = "" if h["value"] is None else f" {h['value']:.3f} [{h['low']:.3f}, {h['high']:.3f}]"
        console.print(f"  {escape(h['metric'])} {bound}:{escape(figure)} {escape(h['means'])}")
    for line in found["judge"]:
        console.print(f"  {escape(line)}")
    console.print(f"→ the report is {escape(found['report'])}")


def print_monitoring(found: dict[str, Any]) -> None:
    """What was counted, how each series stands, and the alarms."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{found['counted']} new responses of {found['run_id']}, {found['total']} in all.")
    table = Table("series", "reference", "latest", "evidence of drift", "alarms", box=None, pad_edge=False)
    for s in found["series"]:
        figures = [f"{s[k]:.3f}" if s[k] is not None else "—" for k in ("reference", "latest")]
        table.add_row(s["series"], *figures, f"{s['evidence']:.2g} of {found['limit']:.2g} years", str(s["alarms"]))
    console.print(table)
    for a in found["alarms"]:
        console.print(f"[bold]Alarm {a['alarm_id']}[/]: {escape(a['sentence'])}")
    for note in found["notes"]:
        console.print(f"→ {escape(note)}")


def print_runs(records: list[dict[str, Any]]) -> None:
    """One line a run."""
    table = Table("run", "status", "gate", "seconds", "message", box=None, pad_edge=False)
    for r in records:
        table.add_row(
            r["run_id"], r["status"], r["gate"]["verdict"], f"{r.get('seconds', 0):.0f}", escape(r["message"])
        )
    Console(highlight=False, soft_wrap=True).print(table if records else "No runs yet: `attestrl run` makes the first.")


def print_check(kind: str, result: dict[str, Any], out: Path) -> None:
    """What a check found, where it is, and what to do next."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(escape(str(result.get("summary", ""))))
    files = {"annotators": "annotators.csv", "poisoning": "findings.json"}
    console.print(f"→ {out / 'report.html'} says more; the full list is {out / files[kind]}")
