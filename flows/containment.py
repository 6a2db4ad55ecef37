"""What an incident touches, and the way back: the alias `champion` on the last policy that no open incident concerns."""

from typing import Any

from flows import listing, release, sealing
from governance import incidents
from governance.digest import write_json
from governance.entry import Event
from tasks import lineage, paths


def affected(run_id: str | None) -> dict[str, str]:
    """Policy and data of a run by SHA-256, and its `run_id`; of the champion's run if none is named; nothing if there is
    no champion. Raises BadInput for an unknown run."""
    if run_id is None:
        champions = _champions()
        if not champions:
            return {}
        run_id = champions[-1]["run_id"]
    record = listing.load(run_id)
    outputs = {o["path"]: o["sha256"] for stage in record["stages"] for o in stage["outputs"]}
    named = {
        p: d
        for p, d in outputs.items()
        if p.startswith(("data/models/policy", "data/models/reward", "data/processed/"))
    }
    return named | {"run_id": record["run_id"]}


def move_back(incident_id: str, actor: str) -> str:
    """Point `champion` at the policy that had it before, passing over those of open incidents; where there is none, take
    the alias away, so that nothing delivers the policy any more. Gives a sentence."""
    ledger = sealing.ledger()
    concerned = {i.run_id for i in incidents.incidents(ledger) if i.blocks or i.incident_id == incident_id}
    every = _champions()
    good = [c for c in every if c["run_id"] not in concerned]
    if not every:
        return "No policy was champion, so nothing was moved back."
    lineage.connect(listing.load(every[-1]["run_id"])["project"])
    if good:
        release.move_alias(ledger, good[-1]["run_id"], actor, good[-1], "champion", because=incident_id)
        said = f"{good[-1]['name']} version {good[-1]['version']} is champion again."
    else:
        name = every[-1]["name"]
        release.take_alias_away(ledger, actor, name, "champion", because=incident_id)
        said = f"{name} has no champion any more: no earlier policy is free of open incidents."
    incidents.updated(
        ledger, incidents.find(ledger, incident_id), note=f"contained: {said}", actor=actor, reported=False
    )
    return said


def write_record(incident_id: str) -> dict[str, Any]:
    """Write the incident's record anew from the ledger, and give it."""
    record = next(i for i in incidents.incidents(sealing.ledger()) if i.incident_id == incident_id).as_dict()
    write_json(paths.home() / "incidents" / f"{incident_id}.json", record)
    return record


def _champions() -> list[dict[str, Any]]:
    """Moves of the alias, in order: run, registered name, version and SHA-256 of the policy."""
    moves = [e for e in sealing.ledger().entries() if e.type == Event.ALIAS_MOVED and e.data["alias"] == "champion"]
    return [
        {
            "run_id": e.run_id,
            "name": e.data["model"],
            "version": e.data["version"],
            "sha256": e.subject_digests["policy"],
        }
        for e in moves
        if e.subject_digests
    ]
