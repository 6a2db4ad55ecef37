"""A past run made again from its git commit, its parameters and its seed, and compared by SHA-256.

The work is done by `dvc repro` alone, without Prefect, in a git worktree with a state folder, a cache and a store of
its own: nothing of the project is changed, and nothing of the first run can be taken over by mistake.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flows import exclusive, listing, sealing
from governance.digest import sha256_path
from governance.entry import Event
from governance.errors import BadInput, MissingComponent
from tasks import paths

# Reports hold times, ids and pictures; tables, models and figures are what a run is about.
COMPARED = ("data/interim/", "data/processed/", "data/models/")
FIGURES = ("metrics.json", "annotators.csv", "findings.json", "quarantine.jsonl", "set_aside.jsonl")


def make_again(run_id: str) -> dict[str, Any]:
    """Make the run again; gives {run_id, same, compared, differ: [{path, then, now}], seconds}."""
    record = listing.load(run_id)
    then = {
        output["path"]: output["sha256"]
        for stage in record["stages"]
        for output in stage["outputs"]
        if output["path"].startswith(COMPARED) or Path(output["path"]).name in FIGURES
    }
    finished = [s["name"] for s in record["stages"] if s["outcome"] in ("made", "cached")]
    if not finished:
        raise BadInput(f"{record['run_id']}: finished no stage, so there is nothing to compare.")
    commit, parameters, inputs = _how_it_was_started(record["run_id"])
    started = time.monotonic()
    with _apart(record["run_id"]) as worktree:
        _prepare(worktree, commit, parameters)
        _bring_inputs(record["run_id"], worktree, inputs)
        _repro(worktree, finished)
        now = {path: sha256_path(worktree / path) for path in then if (worktree / path).exists()}
    differ = [{"path": p, "then": s, "now": now.get(p)} for p, s in sorted(then.items()) if now.get(p) != s]
    return {
        "run_id": record["run_id"],
        "same": not differ,
        "compared": len(then),
        "differ": differ,
        "seconds": round(time.monotonic() - started, 1),
    }


@contextmanager
def _apart(run_id: str) -> Iterator[Path]:
    """Where the work is done; gone afterwards, and if that was killed, when the next one begins."""
    folder = paths.home() / "verify"
    with exclusive.alone("another run is being made again in this project; wait until it ends.", lock="verify.lock"):
        shutil.rmtree(folder, ignore_errors=True)
        try:
            yield folder / run_id
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run(["git", "worktree", "prune"], capture_output=True, check=False)


def _how_it_was_started(run_id: str) -> tuple[str, dict[str, Any], dict[str, str]]:
    """(git commit, parameters, SHA-256 of every input of its stages), as the ledger has them."""
    commit, parameters = "none", None
    inputs: dict[str, str] = {}
    for entry in sealing.ledger().entries(run_id):
        if entry.type == Event.RUN_STARTED:
            commit = entry.data["git_commit"]
        elif entry.type == Event.CONFIGURATION:
            parameters = entry.data["parameters"]
        elif entry.type in (Event.STAGE_MADE, Event.STAGE_CACHED):
            read = {k.removeprefix("input:"): v for k, v in entry.subject_digests.items() if k.startswith("input:")}
            inputs |= read
    if parameters is None:
        raise BadInput(f"{run_id}: ended before its parameters were read, so it cannot be made again.")
    if commit == "none" or commit.endswith("+changes"):
        raise BadInput(
            f"{run_id}: was made from code that git does not have ({commit}), so it cannot be made again; "
            "commit before a run that must be reproducible."
        )
    return commit, parameters, inputs


def _prepare(worktree: Path, commit: str, parameters: dict[str, Any]) -> None:
    """The code of then, the parameters of then, and the pseudonyms of then."""
    import yaml

    subprocess.run(["git", "worktree", "prune"], capture_output=True, check=False)
    command = ["git", "worktree", "add", "--quiet", "--detach", str(worktree), commit]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise MissingComponent(f"git cannot bring back commit {commit[:12]}: {done.stderr.strip().splitlines()[-1]}.")
    (worktree / paths.PARAMS).write_text(yaml.safe_dump(parameters, allow_unicode=True), encoding="utf-8")
    keys = paths.home() / "keys"
    if keys.is_dir():
        shutil.copytree(keys, worktree / ".attestrl" / "keys")


def _bring_inputs(run_id: str, worktree: Path, inputs: dict[str, str]) -> None:
    """Copy raw inputs that git does not have. Raises BadInput if one is gone or has changed."""
    for name, digest in inputs.items():
        path = Path(name)
        if name.startswith("data/") and (not name.startswith("data/raw/") or (worktree / path).exists()):
            continue
        if not path.exists() or sha256_path(path) != digest:
            raise BadInput(f"{path}: is not what {run_id} read (SHA-256 {digest[:12]}…); bring that version back.")
        if not path.is_absolute():
            (worktree / path).parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if path.is_dir() else shutil.copy2)(path, worktree / path)


def _repro(worktree: Path, stages: list[str]) -> None:
    state = worktree / ".attestrl"
    kept = {k: v for k, v in os.environ.items() if k not in ("MLFLOW_TRACKING_URI", "ATTESTRL_RECEIPT")}
    environment = kept | {"ATTESTRL_HOME": str(state), "PREFECT_HOME": str(state / "prefect")}
    command = [sys.executable, "-m", "dvc", "repro", "--quiet", *stages]
    # `python -m` puts the worktree first on the path, so that the code of then runs, not the installed one
    done = subprocess.run(command, cwd=worktree, env=environment, stdout=sys.stderr, check=False)
    if done.returncode != 0:
        raise MissingComponent(
            f"making the run again failed with exit code {done.returncode}; the reason stands above."
        )
