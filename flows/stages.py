"""One stage through DVC: `dvc repro --single-item <stage>`, and what came of it.

DVC alone decides whether a stage is made or cached. A stage that really runs leaves a receipt; where there is none
after a repro that went well, the outputs were restored or still valid. A failure of DVC itself (its lock, a missing
dependency) leaves no receipt either, but an exit code.
"""

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from flows import leftovers, unchanged
from flows.dvc_calls import Call, cache, cold, dvc
from governance.digest import sha256_path
from governance.errors import BadInput, MissingComponent, about_the_disk
from tasks import paths, yaml_reader
from tasks.lineage import read_record

NOT_KEPT = "DVC cannot bring its outputs into its cache: the disk is full, or does not let it write; free some space, then run again."


@dataclass(frozen=True)
class Outcome:
    """How a stage ended: made, cached, failed or skipped."""

    name: str
    outcome: str
    seconds: float = 0.0
    mlflow_run_id: str | None = None
    outputs: list[dict[str, str]] = field(default_factory=list)
    inputs: dict[str, str] = field(default_factory=dict)
    message: str = ""
    exit_code: int = 0

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


def declared_stages() -> dict[str, Any]:
    """The stages as dvc.yaml declares them. Raises BadInput if one is not there: DVC would say nothing of it, as of one
    that is unchanged."""
    content = yaml_reader.parse(yaml_reader.read_text(Path("dvc.yaml")), "dvc.yaml")
    found = content.get("stages") if isinstance(content, dict) else None
    stages: dict[str, Any] = found if isinstance(found, dict) else {}
    missing = [name for name in paths.STAGES if not isinstance(stages.get(name), dict)]
    if missing:
        raise BadInput(f"dvc.yaml: declares no stage {', '.join(missing)}; restore it from git.")
    return stages


@contextmanager
def asked_for_changes() -> Iterator[Callable[[], set[str]]]:
    """Ask DVC what has changed while this process does something else; gives a function that waits for the answer: stages that
    DVC would run or restore now, as far as can be told before any of them runs. DVC is not asked where nothing had
    changed when it was asked last, and nothing was touched since."""
    if unchanged.holds():
        yield lambda: _changed_outside(set())
        return
    seen = unchanged.look()
    asked = subprocess.Popen(dvc("status", "--json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def changed() -> set[str]:
        said, why = asked.communicate()
        if asked.returncode != 0:
            raise MissingComponent(_why(why, "DVC cannot tell what has changed"))
        status = set(json.loads(said.strip().splitlines()[-1]))
        if not status:
            unchanged.keep(seen)
        return status | _changed_outside(status)

    with asked:
        try:
            yield changed
        finally:
            if asked.poll() is None:
                asked.kill()


def nothing_has_changed() -> bool:
    """Whether a run here and now would make nothing; False where DVC cannot tell."""
    try:
        with asked_for_changes() as changes:
            return not changes()
    except MissingComponent:
        return False


def _changed_outside(known: set[str]) -> set[str]:
    """Stages that read elsewhere and have changed; inputs of those `known` to have changed are not read."""
    return {name for name in ("ingest", "base") if name not in known and _outside_input_changed(name)}


def _outside_input_changed(stage: str) -> bool:
    """Whether an input that dvc.yaml does not list (a file elsewhere on the disk) differs from what was read, or nothing
    tells any more what was read."""
    record = read_record(stage)
    if not record and (paths.report(stage) / "record.json").is_file():
        return True
    for name, digest in record.get("inputs", {}).items():
        path = Path(name)
        if path.exists() and sha256_path(path) != digest:
            return True
    return False


def run_stage(name: str, parent_run: str, call: Call = cold) -> Outcome:
    """Bring one stage up to date and say how that went; `call` runs DVC."""
    receipt = paths.home() / "receipts" / f"{name}-{os.getpid()}.json"
    receipt.unlink(missing_ok=True)
    environment = {**os.environ, "ATTESTRL_RECEIPT": str(receipt), "ATTESTRL_PARENT_RUN": parent_run}
    force = ["--force"] if name in ("ingest", "base") and _outside_input_changed(name) else []
    started = time.monotonic()
    code = call(["repro", "--quiet", "--single-item", *force, name], environment)
    told = _take(receipt)
    if code != 0 and not told:
        # DVC failed before the stage said that it began: try once more, and keep what DVC says. A stage that had begun
        # all the same, because DVC was killed, must not write beside the next one.
        leftovers.end_leftovers()
        again = subprocess.run(
            dvc("repro", "--single-item", name), env=environment, capture_output=True, text=True, check=False
        )
        code, told = again.returncode, _take(receipt)
        if code != 0 and not told:
            told = {"outcome": "failed", "exit_code": 3, "message": _why(again.stderr, "DVC could not run it")}
    seconds = round(time.monotonic() - started, 3)
    if code != 0:
        leftovers.end_leftovers()  # DVC may have been killed alone
        return _failed(name, told, seconds)
    leftovers.keep_dvc_lock()
    if told.get("outcome") != "made":
        return finished(name, "cached", seconds)
    if not _in_cache(name):
        leftovers.drop_partial_objects()
        return Outcome(name, "failed", seconds, message=NOT_KEPT, exit_code=3)
    return finished(name, "made", seconds)


def _in_cache(stage: str) -> bool:
    """Whether DVC has the outputs of a stage in its cache: where it cannot write there it says nothing, and goes on. A
    folder's listing is the last that it writes, and not if a file of the folder is missing."""
    objects = cache() / "files/md5"
    outs = leftovers.locked(Path())[stage]["outs"]
    return all((objects / out["md5"][:2] / out["md5"][2:]).is_file() for out in outs)


def finished(name: str, outcome: str, seconds: float = 0.0) -> Outcome:
    """Outcome of a stage whose outputs are there, from the record beside them."""
    record = read_record(name)
    outputs = [{"path": p, "sha256": s} for p, s in record.get("outputs", {}).items()]
    return Outcome(name, outcome, seconds, record.get("mlflow_run_id"), outputs, record.get("inputs", {}))


def _failed(name: str, told: dict[str, Any], seconds: float) -> Outcome:
    if told.get("outcome") == "failed":
        return Outcome(name, "failed", seconds, message=told["message"], exit_code=told["exit_code"])
    if told.get("outcome") == "made":
        message = "it ended well, but DVC could not keep its outputs; DVC's own sentence stands above, run again."
        return Outcome(name, "failed", seconds, message=message, exit_code=3)
    message = "the process ended before it could say why (killed, or out of memory); run again to go on from here."
    return Outcome(name, "failed", seconds, message=message, exit_code=3)


def _take(receipt: Path) -> dict[str, Any]:
    if not receipt.is_file():
        return {}
    content: dict[str, Any] = json.loads(receipt.read_text())
    receipt.unlink()
    return content


def _why(text: str, otherwise: str) -> str:
    """What DVC's own words mean; they follow `otherwise` where they are to be read as they are."""
    if re.search(r"is busy, it is being blocked by|Unable to acquire lock", text):
        return "another DVC command is at work in this project; wait until it ends, then run again."
    if "No possible cache link types" in text:  # what it makes of a copy that the disk did not take
        return "DVC cannot bring files out of its cache: the disk is full, or does not let it write; free some space, then run again."
    return about_the_disk(text) or f"{otherwise}: {_last_error(text)}"


def _last_error(text: str) -> str:
    lines = [line for line in text.splitlines() if line.startswith("ERROR")] or text.splitlines() or ["it said nothing"]
    return lines[-1].removeprefix("ERROR: ")
