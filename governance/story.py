"""`index.html` of a bundle: the story of a run for a person who has never seen this software. Opens from the disk."""

import json
from collections import Counter
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from governance.checkpoint import Stored
from governance.digest import sha256_bytes
from governance.entry import Entry, Event
from governance.lineage_picture import nodes_of, picture
from governance.mapping import DISCLAIMER, PERSON

DECISIONS = {
    Event.APPROVED: "approved",
    Event.REJECTED: "rejected",
    Event.REFUSED: "approval refused by the evidence, asked for",
}


def index(content: dict[str, bytes], entries: list[Entry], covering: Stored, mapped: dict[str, Any]) -> str:
    """The page, from the files of the bundle and the run's entries."""
    run = json.loads(content["run/run.json"])
    stages = [json.loads(content[n]) for n in content if n.startswith("run/stages/")]
    order = {s["name"]: (i, s["outcome"]) for i, s in enumerate(run["stages"])}
    stages.sort(key=lambda s: order.get(s["stage"], (len(order), ""))[0])
    outcomes = {name: outcome for name, (_, outcome) in order.items()}
    return _page().render(
        run=run,
        stages=stages,
        outcomes=outcomes,
        started=entries[0],
        decisions=[(DECISIONS[Event(e.type)], e) for e in entries if e.type in DECISIONS],
        since=_since(entries),
        failed=[e for e in entries if e.type == Event.STAGE_FAILED],
        found=_found(content, entries),
        lineage=picture(nodes_of(stages, outcomes, run["gate"]["verdict"])),
        mapped=mapped,
        missing={t["title"]: Counter(r["status"] for r in t["rows"])[PERSON] for t in mapped["tables"]},
        sheets=[
            json.loads(d) for n, d in sorted(content.items()) if n.startswith("run/datasheet-") and n.endswith(".json")
        ],
        entries=entries,
        checkpoint=covering.checkpoint,
        files={name: sha256_bytes(data) for name, data in sorted(content.items())},
        disclaimer=DISCLAIMER,
    )


@cache
def _page() -> Template:
    environment = Environment(
        loader=PackageLoader("governance"),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("evidence.html.j2")


def _found(content: dict[str, bytes], entries: list[Entry]) -> list[str]:
    """What the checks of the data found, in sentences."""
    said = []
    for name in ("annotators", "poisoning"):
        if report := content.get(f"run/reports/{name}.json"):
            said.append(f"{name}: {json.loads(report).get('summary')}")
    for e in entries:
        if e.type == Event.DATA_QUARANTINED:
            said.append(f"{e.data['stage']}: {e.data['rows']} rows were set aside and not trained on.")
    return said


def _since(entries: list[Entry]) -> list[str]:
    """What became known of the run beside its own stages and the decisions on it, in sentences."""
    said = []
    for e in entries:
        match e.type:
            case Event.EVALUATED:
                said.append(f"{e.ts}: it was evaluated again: {e.data['sentence']}")
            case Event.EVALUATION_STALE:
                said.append(f"{e.ts}: its evaluation is stale: {e.data['reason']} (run {e.data['because']}).")
            case Event.EXPIRED:
                said.append(f"{e.ts}: nobody decided on its release in time, so it cannot be approved any more.")
            case Event.ALARM:
                said.append(f"{e.ts}: monitoring of its policy found a drift of {e.data['series']}.")
            case Event.INCIDENT_OPENED:
                said.append(f"{e.ts}: incident {e.data['incident_id']} ({e.data['severity']}): {e.data['summary']}")
            case Event.INCIDENT_CLOSED:
                said.append(f"{e.ts}: incident {e.data['incident_id']} was closed: {e.data['cause']}")
    return said
