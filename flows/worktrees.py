"""A git worktree for each run that a schedule or a trigger starts, so that people may work in the project's folder while it
waits and while it goes on.

What a run *is* is fixed when it is queued: the commit, and `params.yaml`. What it *reads* is there when its turn comes:
inputs as they stand in the project's folder, `dvc.lock`, and the outputs it names, from DVC's cache, which is one. When
it has ended, `dvc.lock` and the outputs come back to the project's folder, which shows the latest run as ever.

Worktrees are in `<home>/worktrees/`, made and removed by whoever holds the run lock: one that is there when nobody is at
work is a killed run's (`take_over`).
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path

from flows import leftovers
from flows.dvc_calls import OWN_CACHE
from flows.elsewhere import call_dvc
from governance.digest import write_atomic
from governance.errors import BadInput, MissingComponent
from governance.retention import DECLARED_IN
from tasks import params, paths

LOCAL_CONFIG = Path(".dvc/config.local")  # DVC's, written last: a worktree without it was never worked in
INPUTS = ("data", "*.dvc")  # what git tracks of inputs; of everything else the commit's version counts


@dataclass(frozen=True)
class Queued:
    """What a run in the project folder `root` will be: `inside` is the project's place in its repository."""

    root: Path
    inside: str
    commit: str
    params: str
    left_out: list[str]  # tracked files whose changes are not committed


def queue() -> Queued | None:
    """The project in the current folder as it is now; None if git does not have it, and a run can only work in it."""
    commit, inside = _git("rev-parse", "--verify", "HEAD"), _git("rev-parse", "--show-prefix")
    if not commit or not _git("ls-tree", "--name-only", commit, "--", "dvc.yaml"):
        return None
    return Queued(Path.cwd(), inside, commit, paths.PARAMS.read_text(encoding="utf-8"), _left_out(commit))


def is_here(queued: Queued) -> bool:
    """Whether the project in the current folder is what the run will be, so that one that makes nothing needs no other."""
    same = _git("rev-parse", "--verify", "HEAD") == queued.commit and paths.PARAMS.read_text("utf-8") == queued.params
    return same and not _left_out(queued.commit)


def commit(queued: Queued) -> str:
    """The commit as a run's entry names it: with `+changes` if git has other inputs than the run will read."""
    return queued.commit + ("+changes" if _changed_inputs(queued.commit) else "")


@contextmanager
def worktree(name: str, queued: Queued) -> Iterator[None]:
    """Work in a worktree of this name until the block ends. Call it under the run lock."""
    top = _folder() / name
    tree = top / queued.inside
    try:
        _git("worktree", "prune")
        made = _run_git("worktree", "add", "--quiet", "--detach", str(top), queued.commit)
        if made.returncode != 0:
            said = (made.stderr.strip().splitlines() or ["it did not say why"])[-1]
            raise MissingComponent(f"git cannot make a worktree of {queued.commit[:12]} in {top}: {said}")
        (tree / paths.PARAMS).write_text(queued.params, encoding="utf-8")
        _bring_inputs(queued, tree)
        with _at(tree, queued.root):
            _bring_outputs(queued.root, tree)
            yield
    finally:
        _give_back(tree)
        _remove(top)


def take_over() -> None:
    """Bring back what killed runs had finished, and remove their worktrees. Call it in the project's folder, under the run
    lock: a stage that still works in one of them has no run any more."""
    left = sorted(_folder().glob("*"))
    if not left:
        return
    leftovers.end_leftovers()
    inside = _git("rev-parse", "--show-prefix")
    for top in left:
        with chdir(top / inside if (top / inside).is_dir() else Path()):
            leftovers.mend_dvc_lock()
        _give_back(top / inside)
        _remove(top)


def _folder() -> Path:
    return paths.home() / "worktrees"


@contextmanager
def _at(tree: Path, root: Path) -> Iterator[None]:
    """In the worktree, with what the environment names in the project's folder named in full; DVC's notes about files go
    with the worktree."""
    changed = {paths.ROOT_VARIABLE: str(root), "DVC_SITE_CACHE_DIR": str(tree / ".dvc/tmp/site")}
    store = os.environ.get("MLFLOW_TRACKING_URI", "")
    if store.startswith("sqlite:///") and not store.startswith("sqlite:////"):
        changed["MLFLOW_TRACKING_URI"] = f"sqlite:///{root / store.removeprefix('sqlite:///')}"
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        with chdir(tree):
            yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _bring_inputs(queued: Queued, tree: Path) -> None:
    """Copy what git does not have, or has otherwise, of inputs. Copies, not links: what is changed in the project's folder
    meanwhile is another run's."""
    root = queued.root
    for name in _changed_inputs(queued.commit) + _names("ls-files", "--others", "--exclude-standard", "--", *INPUTS):
        _copy(root, tree, name)
    settings = params.load(tree / paths.PARAMS)
    named = [*settings.ingest.sources(), settings.base.model, settings.principles.file]
    named += [settings.oversight.problems, settings.oversight.deductions]
    for name in (n for n in (*named, settings.evidence.declarations) if n and (root / n).exists()):
        if Path(name).is_absolute():
            continue
        if not (root / name).resolve().is_relative_to(root.resolve()) and ".." in Path(name).parts:
            raise BadInput(
                f"params.yaml: {name}: is outside the project's folder; a run that a schedule or a trigger starts has a folder "
                "of its own, so give the whole name, from / on."
            )
        if not (tree / name).exists():  # git ignores it, as what DVC tracks
            _copy(root, tree, name)
            _copy(root, tree, str(Path(name).parent / DECLARED_IN))


def _left_out(commit: str) -> list[str]:
    aside = [f":(exclude){name}" for name in (paths.PARAMS, leftovers.DVC_LOCK, *INPUTS)]
    return _names("diff", "--name-only", "--relative", commit, "--", ".", *aside)


def _changed_inputs(since: str) -> list[str]:
    return _names("diff", "--name-only", "--relative", since, "--", *INPUTS)


def _copy(root: Path, tree: Path, name: str) -> None:
    """Make a file or folder of `tree` as it is in `root`, also if it is not there."""
    source, target = root / name, tree / name
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    elif source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
    else:
        target.unlink(missing_ok=True)


def _bring_outputs(root: Path, tree: Path) -> None:
    """What `dvc.lock` names, out of the project's cache."""
    if (root / leftovers.DVC_LOCK).is_file():
        shutil.copy2(root / leftovers.DVC_LOCK, tree / leftovers.DVC_LOCK)
    _share_cache(root, tree)
    if stages := sorted(leftovers.locked(tree)):
        call_dvc("checkout", "--quiet", "--allow-missing", *stages)


def _share_cache(root: Path, tree: Path) -> None:
    """Give DVC the project's own settings there, with relative names as they are meant, and its cache."""
    from configobj import ConfigObj
    from dvc.config import Config

    own = Config(str(root / ".dvc"), validate=False)
    local = own.load_one("local")
    local["cache"]["dir"] = own["cache"].get("dir") or str(root / OWN_CACHE)
    remotes = {k: v | local["remote"].get(k, {}) for k, v in own.load_one("repo")["remote"].items()} | local["remote"]
    named = {f'remote "{name}"': settings for name, settings in remotes.items()}
    plain = {name: settings for name, settings in local.items() if name not in ("remote", "machine", "db")}
    written = ConfigObj(
        {k: v for k, v in (plain | named).items() if v}, encoding="utf-8"
    )  # DVC's own writes ASCII alone
    with (tree / LOCAL_CONFIG).open("wb") as file:
        written.write(file)


def _give_back(tree: Path) -> None:
    """Make the project in the current folder show what was made in a worktree: outputs by way of the cache, and what a stage
    that failed wrote about it, which is in no cache."""
    if not (tree / LOCAL_CONFIG).is_file():
        return
    before, now = leftovers.locked(Path()), leftovers.locked(tree)
    if now != before:
        write_atomic(leftovers.DVC_LOCK, (tree / leftovers.DVC_LOCK).read_bytes())
        try:
            call_dvc("checkout", "--quiet", "--force", "--allow-missing", *(n for n in now if now[n] != before.get(n)))
        except MissingComponent as error:
            print(f"attestrl: outputs are in the cache, and not in this folder: {error}", file=sys.stderr)
    for stage in paths.STAGES:
        report = tree / paths.report(stage)
        if report.is_dir() and not (report / "record.json").is_file():
            shutil.rmtree(paths.report(stage), ignore_errors=True)
            shutil.copytree(report, paths.report(stage))
    for file in (tree / paths.ROUNDS).glob("*"):  # labels that the run made
        if not (paths.ROUNDS / file.name).exists():
            paths.ROUNDS.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, paths.ROUNDS / file.name)


def _remove(top: Path) -> None:
    _git("worktree", "remove", "--force", "--force", str(top))
    shutil.rmtree(top, ignore_errors=True)
    _git("worktree", "prune")


def _names(*arguments: str) -> list[str]:
    return [name for name in _run_git(arguments[0], "-z", *arguments[1:]).stdout.split("\0") if name]


def _git(*arguments: str) -> str:
    return _run_git(*arguments).stdout.strip()


def _run_git(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Without the repository's hooks: DVC's own would check data out before its cache is known."""
    command = ["git", "-c", "core.hooksPath=/dev/null", *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:  # no git on this machine
        return subprocess.CompletedProcess(command, 127, "", "")
