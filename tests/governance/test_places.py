"""Checkpoints in a folder, a git remote, an object store: written, read back, and what is done to them there is found."""

import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from governance.errors import BadInput, MissingComponent
from governance.git_place import GitBranch
from governance.keys import Keyring
from governance.ledger import Ledger
from governance.notary import Notary
from governance.places import BRANCH, Folder, Place, Store, place_at
from tests.governance.signed_logs import add, lines, says
from tests.servers import s3

KINDS = ("folder", "git", "local", "s3")


def git(folder: Path, *arguments: str, given: bytes = b"") -> str:
    writer = {f"GIT_{role}_{k}": "witness" for role in ("AUTHOR", "COMMITTER") for k in ("NAME", "EMAIL")}
    command = ["git", "--git-dir", str(folder), *arguments]
    return subprocess.run(command, input=given, capture_output=True, check=True, env=writer).stdout.decode().strip()


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    with s3() as url:
        yield url


@dataclass
class Kept:
    """A place, and what its owner can do there: put these files in place of all others."""

    text: str
    put: Callable[[dict[str, bytes]], None]

    @property
    def place(self) -> Place:
        return place_at(self.text)


def _folder(path: Path, scheme: str) -> Kept:
    def put(files: dict[str, bytes]) -> None:
        for file in path.iterdir():
            file.unlink()
        for name, content in files.items():
            (path / name).write_bytes(content)

    return Kept(f"{scheme}{path}", put)


def _git(path: Path) -> Kept:
    git(path, "init", "--quiet", "--bare", str(path))

    def put(files: dict[str, bytes]) -> None:
        blobs = {n: git(path, "hash-object", "-w", "--stdin", given=c) for n, c in files.items()}
        tree = git(path, "mktree", given="".join(f"100644 blob {b}\t{n}\n" for n, b in blobs.items()).encode())
        git(path, "update-ref", f"refs/heads/{BRANCH}", git(path, "commit-tree", tree, "-m", "rewritten"))

    return Kept(f"git+file://{path}", put)


def _s3(url: str, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Kept:
    from s3fs import S3FileSystem

    for name, value in {"ENDPOINT_URL": url, "ACCESS_KEY_ID": "k", "SECRET_ACCESS_KEY": "s"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    owner = S3FileSystem(use_listings_cache=False)
    owner.mkdir(bucket)

    def put(files: dict[str, bytes]) -> None:
        owner.rm(owner.find(f"{bucket}/witness"))
        for name, content in files.items():
            owner.pipe_file(f"{bucket}/witness/{name}", content)

    return Kept(f"s3://{bucket}/witness", put)


@pytest.fixture(params=KINDS)
def kept(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kept:
    kind = request.param
    if kind == "s3":
        return _s3(request.getfixturevalue("s3_url"), tmp_path.name.replace("_", "-"), monkeypatch)
    if kind == "git":
        return _git(tmp_path / "witness.git")
    return _folder(tmp_path / "witness", {"folder": "", "local": "local://"}[kind])


@pytest.fixture
def notary(tmp_path: Path, kept: Kept) -> Notary:
    """Three checkpoints and two entries more; the first seal adds an entry about its key."""
    made = Notary(Ledger(tmp_path / "ledger.jsonl"), kept.place, Keyring(tmp_path / "keys", environment={}))
    assert made.verify().ok
    for _ in range(3):
        add(made.ledger, 5)
        made.seal("user:a")
    add(made.ledger, 2)
    return made


def test_what_is_written_is_there_for_whoever_looks_next(notary: Notary, kept: Kept) -> None:
    found = notary.verify()
    assert found.ok, found.problems
    assert (found.entries, found.covered) == (18, 16)
    assert [int(name[:12]) for name in sorted(kept.place.read())] == [6, 11, 16]


def test_what_was_done_to_the_log_is_found_from_there(notary: Notary) -> None:
    whole = lines(notary)
    notary.ledger.path.write_bytes(b"".join(whole[:13]))  # type: ignore[attr-defined]
    says(notary, "line 14: 3 entries at the end are gone that checkpoint 000000000016")
    notary.ledger.path.unlink()  # type: ignore[attr-defined]
    says(notary, "the log is gone")


def test_what_was_done_to_the_checkpoints_is_found(notary: Notary, kept: Kept) -> None:
    files = dict(sorted(kept.place.read().items()))
    first, second, last = files
    kept.put({n: files[n] for n in (first, second)} | {last: files[first]})
    says(notary, f"checkpoint {last}", "replayed in its place")
    kept.put({n: files[n] for n in (first, second)})
    says(notary, f"checkpoint {last}: was signed here and is gone; an older one was replayed")
    kept.put({n: files[n] for n in (first, last)})
    says(notary, f"checkpoint {last}: names another one before it: one is gone between {first} and it")
    kept.put(files | {second: files[second].replace(b"sig", b"gis")})
    says(notary, f"checkpoint {second}: was edited")
    kept.put(files)
    assert notary.verify().ok


def test_two_writers_of_one_branch_lose_nothing(tmp_path: Path) -> None:
    kept = _git(tmp_path / "witness.git")
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda n: kept.place.write(f"{n}.json", b"%d" % n), range(6)))
    assert kept.place.read() == {f"{n}.json": b"%d" % n for n in range(6)}
    assert git(tmp_path / "witness.git", "rev-list", "--count", BRANCH) == "6"


def test_a_remote_that_takes_nothing_says_so(tmp_path: Path) -> None:
    kept = _git(tmp_path / "witness.git")
    hook = tmp_path / "witness.git/hooks/pre-receive"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(MissingComponent, match="pre-receive hook declined"):
        kept.place.write("a.json", b"{}")


def test_a_store_that_does_not_answer_says_so(tmp_path: Path, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _s3(s3_url, "there", monkeypatch)
    assert Store("s3://there/empty").read() == {}
    with pytest.raises(MissingComponent, match="no checkpoint can be written there"):
        Store("s3://not-there/x").write("a.json", b"{}")
    with pytest.raises(MissingComponent, match=r"absent\.git"):
        GitBranch(str(tmp_path / "absent.git"), BRANCH).read()


@pytest.mark.parametrize(
    ("text", "url", "branch"),
    [
        ("git@host:audit/witness.git", "git@host:audit/witness.git", BRANCH),
        ("git@host:witness#main", "git@host:witness", "main"),
        ("git+https://host/witness", "https://host/witness", BRANCH),
        ("https://host/witness.git#audit/log", "https://host/witness.git", "audit/log"),
        ("ssh://me@host:22/witness", "ssh://me@host:22/witness", BRANCH),
        ("/srv/witness.git", "/srv/witness.git", BRANCH),
    ],
)
def test_what_names_a_git_remote(text: str, url: str, branch: str) -> None:
    place = place_at(text)
    assert isinstance(place, GitBranch)
    assert (place.url, place.branch) == (url, branch)


def test_what_names_other_places(tmp_path: Path) -> None:
    assert isinstance(place_at("witness/checkpoints"), Folder)
    file = place_at(f"file://{tmp_path}")
    assert isinstance(file, Folder) and file.path == tmp_path
    assert isinstance(place_at("s3://bucket/prefix"), Store)
    with pytest.raises(BadInput, match="names no place"):
        place_at("nowhere://bucket").read()
    with pytest.raises(MissingComponent, match="gcsfs"):
        place_at("gcs://bucket/x").read()
    with pytest.raises(BadInput, match="holds a password") as refused:
        place_at("git+https://me:hunter2@host/x.git")
    assert "hunter2" not in str(refused.value)
