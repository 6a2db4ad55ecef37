"""Files that must go, wherever they lie: workspace, DVC's cache and remotes, the state folder, MLflow's store.

A removal is written down before the first file goes. Killed, it goes on when the same command is run again, and no run
starts before it has: a run could bring back from the cache what is half removed. It is recorded, once, when all is gone.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from flows import artifacts, sealing
from governance.digest import sha256_bytes
from governance.entry import Entry, Event
from governance.erasure import Removal
from governance.errors import GateRefused
from tasks import paths

# What goes on from where it was killed. The sentence stays in records, so it names nobody.
GOES_ON = {"erasing": "the same `attestrl privacy erase` as before", "deleting": "`attestrl privacy retention --act`"}
BUSY = "a run is under way in this project; wait until it ends, then try again."
RETRAINING = "due: a person decides whether these policies are trained anew"


def journal(kind: str, subject: str) -> Path:
    """Where a removal is written down while it goes on; `kind` is one of `GOES_ON`."""
    return paths.home() / "privacy" / f"{kind}-{sha256_bytes(subject.encode())[:12]}.json"


def check_finished() -> None:
    """Raises GateRefused while a removal that was begun has not ended."""
    for kind, command in GOES_ON.items():
        if list((paths.home() / "privacy").glob(f"{kind}-*.json")):
            raise GateRefused(f"data are half removed: a removal was interrupted; type {command}, then run again.")


def carry_out(found: Removal, say: Callable[[str], None]) -> None:
    """Remove the files, the artifacts in an MLflow store elsewhere, and the objects from every remote that DVC knows. What
    is gone already is passed over."""
    for name in found.files:
        Path(name).unlink(missing_ok=True)
    if found.artifacts:
        say(f"MLflow store: {artifacts.delete(found.artifacts)} artifacts removed.")
    if not found.objects:
        return
    from dvc.repo import Repo

    with Repo() as repo:
        for name in repo.config["remote"]:
            odb = repo.cloud.get_remote_odb(name)
            removed = 0
            for oid in set(found.objects):
                if odb.exists(oid):
                    odb.fs.remove(odb.oid_to_path(oid))
                    removed += 1
            say(f"remote {name}: {removed} objects removed.")


def record(found: Removal, event: Event, actor: str, digests: dict[str, str], **data: Any) -> Entry:
    """Append what was removed to the audit log, unless that was done before a kill."""
    ledger = sealing.ledger()
    known = (e for e in ledger.entries() if e.type == event and e.data.get("removal") == found.token)
    entry = next(known, None) or ledger.append(
        event,
        run_id="",
        actor=actor,
        subject_digests=digests,
        data={
            **data,
            "files": len(found.files),
            "artifacts": len(found.artifacts),
            "runs": found.runs,
            "policies": found.models,
            "retraining": RETRAINING if found.models else "none",
            "removal": found.token,
        },
    )
    sealing.seal(actor)
    return entry
