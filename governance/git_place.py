"""Signed checkpoints on a branch of a git remote: a commit for each, pushed without force.

Nothing of the remote is kept between two questions: each asks what the branch holds now, in a bare repository that lives
as long as the question. A push that another writer overtook is made again on top of theirs. A remote that refuses
pushes which are no fast-forward (`receive.denyNonFastForwards`, a protected branch) keeps what was once written.
"""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from governance.errors import MissingComponent

ATTEMPTS = 10
SECONDS = 120
_OWN = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR")  # set inside a hook
_WRITER = {"NAME": "attestrl", "EMAIL": "attestrl@localhost"}


class GitBranch:
    """Checkpoints at the top of a branch that holds nothing else."""

    def __init__(self, url: str, branch: str) -> None:
        self.url = url
        self.branch = branch

    def read(self) -> dict[str, bytes]:
        """Content of every file by its name. Raises MissingComponent if the remote cannot be read."""
        with self._repository() as git:
            tip = git.fetch(self.url, self.branch)
            return {name: git.blob(oid) for name, oid in git.files(tip).items()} if tip else {}

    def write(self, name: str, content: bytes) -> None:
        """Add a file in a commit of its own. Raises MissingComponent if the remote does not take it."""
        for left in reversed(range(ATTEMPTS)):
            with self._repository() as git:
                tip = git.fetch(self.url, self.branch)
                files = (git.files(tip) if tip else {}) | {name: git.add(content)}
                try:
                    git.push(self.url, git.commit(files, tip, f"Checkpoint {name}"), self.branch)
                    return
                except MissingComponent:
                    if not left or git.tip(self.url, self.branch) == tip:  # not overtaken: refused
                        raise

    @contextmanager
    def _repository(self) -> Iterator["_Repository"]:
        with tempfile.TemporaryDirectory(prefix="attestrl-checkpoints-") as folder:
            made = _Repository(Path(folder), f"evidence.checkpoints {self.url}")
            made.call("init", "--quiet", "--bare", folder)
            yield made


class _Repository:
    """A bare repository, asked through the `git` command: it knows the person's credentials and ssh settings."""

    def __init__(self, folder: Path, where: str) -> None:
        self._folder = folder
        self._where = where
        writer = {f"GIT_{role}_{k}": v for role in ("AUTHOR", "COMMITTER") for k, v in _WRITER.items()}
        self._environment = {k: v for k, v in os.environ.items() if k not in _OWN} | writer
        self._environment |= {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}

    def tip(self, url: str, branch: str) -> str:
        """The commit that the branch points at in the remote; empty if it is not there."""
        return self.call("ls-remote", "--", url, f"refs/heads/{branch}").partition(b"\t")[0].decode()

    def fetch(self, url: str, branch: str) -> str:
        """Bring the branch as it is now; gives its commit, or an empty text."""
        if not self.tip(url, branch):
            return ""
        self.call("fetch", "--quiet", "--no-tags", "--depth=1", "--", url, f"refs/heads/{branch}")
        return self.call("rev-parse", "FETCH_HEAD").decode().strip()

    def files(self, commit: str) -> dict[str, str]:
        """Blob of every file at the top by its name; folders are no checkpoints."""
        rows = [row.partition("\t") for row in self.call("ls-tree", "-z", commit).decode().split("\0") if row]
        return {name: about.split()[2] for about, _, name in rows if about.split()[1] == "blob"}

    def blob(self, oid: str) -> bytes:
        """Content of a file."""
        return self.call("cat-file", "blob", oid)

    def add(self, content: bytes) -> str:
        """Store a file; gives its blob."""
        return self.call("hash-object", "-w", "--stdin", given=content).decode().strip()

    def commit(self, files: dict[str, str], parent: str, message: str) -> str:
        """Store a commit of exactly these files."""
        rows = "".join(f"100644 blob {oid}\t{name}\0" for name, oid in sorted(files.items()))
        tree = self.call("mktree", "-z", given=rows.encode()).decode().strip()
        above = ["-p", parent] if parent else []
        return self.call("commit-tree", "--no-gpg-sign", tree, *above, "-m", message).decode().strip()

    def push(self, url: str, commit: str, branch: str) -> None:
        """Move the branch forward to a commit; never backward."""
        self.call("push", "--quiet", "--", url, f"{commit}:refs/heads/{branch}")

    def call(self, *arguments: str, given: bytes = b"") -> bytes:
        """Output of a git command. Raises MissingComponent, with what git said, if it fails."""
        command = ["git", "--git-dir", str(self._folder), *arguments]
        try:
            # a session of its own has no terminal on which ssh could ask for a password
            done = subprocess.run(
                command,
                input=given,
                env=self._environment,
                capture_output=True,
                timeout=SECONDS,
                check=False,
                start_new_session=True,
            )
        except FileNotFoundError:
            raise MissingComponent(f"{self._where}: needs git, which is not installed.") from None
        except subprocess.TimeoutExpired:
            raise MissingComponent(f"{self._where}: git did not answer within {SECONDS} s.") from None
        if done.returncode != 0:
            said = [
                s for s in done.stderr.decode(errors="replace").splitlines() if s.startswith(("fatal:", "error:", " !"))
            ]
            raise MissingComponent(f"{self._where}: {(said or ['git did not say why'])[0].strip()}")
        return done.stdout
