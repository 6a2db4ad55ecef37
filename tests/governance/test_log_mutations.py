"""Two hundred random mutations of a log and its checkpoints: none goes unnoticed."""

import json
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from hypothesis import given, settings
from hypothesis import strategies as st

from governance import checkpoint, dsse
from governance.ledger import Ledger
from governance.places import Folder
from tests.governance.conftest import notary_of
from tests.governance.signed_logs import add, rechain


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("signed")
    made = notary_of(Ledger(folder / "ledger.jsonl"))
    for _ in range(4):
        add(made.ledger, 3)
        made.seal("user:a")
    return folder


def mutate_lines(data: st.DataObject, ls: list[bytes]) -> list[bytes]:
    at, other = data.draw(st.integers(0, len(ls) - 1)), data.draw(st.integers(0, len(ls) - 1))
    kind = data.draw(st.sampled_from(["byte", "delete", "swap", "repeat", "cut", "rechain", "insert"]))
    if kind == "byte":
        i = data.draw(st.integers(0, len(ls[at]) - 1))
        ls[at] = ls[at][:i] + bytes([data.draw(st.integers(0, 255))]) + ls[at][i + 1 :]
    elif kind == "delete":
        del ls[at]
    elif kind == "swap":
        ls[at], ls[other] = ls[other], ls[at]
    elif kind == "repeat":
        ls.insert(other, ls[at])
    elif kind == "cut":
        del ls[at:]
    else:
        entries = [json.loads(line) for line in ls]
        if kind == "insert":
            entries.insert(at, dict(entries[other]))
        entries[at]["actor"] = data.draw(st.text("abc", min_size=1, max_size=5))
        ls = rechain(entries).splitlines(keepends=True)
    return ls


def mutate_checkpoints(data: st.DataObject, folder: Path) -> None:
    here = sorted(folder.iterdir())
    one, other = data.draw(st.sampled_from(here)), data.draw(st.sampled_from(here))
    kind = data.draw(st.sampled_from(["byte", "delete", "replay", "copy", "re-sign", "rename"]))
    content = one.read_bytes()
    if kind == "byte":
        i = data.draw(st.integers(0, len(content) - 1))
        one.write_bytes(content[:i] + bytes([data.draw(st.integers(0, 255))]) + content[i + 1 :])
    elif kind == "delete":
        one.unlink()
    elif kind == "replay":
        one.write_bytes(other.read_bytes())
    elif kind == "copy":
        (folder / f"{data.draw(st.integers(0, 99)):012d}-{'0' * 16}.json").write_bytes(content)
    elif kind == "rename":
        one.rename(folder / (data.draw(st.text("abc", min_size=1, max_size=9)) + ".json"))
    else:
        stored = next(s for s in checkpoint.load(Folder(folder))[0] if s.name == one.name)
        one.unlink()
        forged = dsse.sign(checkpoint.PAYLOAD_TYPE, stored.envelope.payload, generate_private_key(SECP256R1()))
        checkpoint.store(Folder(folder), stored.checkpoint, forged)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_no_mutation_of_log_or_checkpoints_goes_unnoticed(
    signed: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("mutated") / "home"
    shutil.copytree(signed, folder)
    log, places = folder / "ledger.jsonl", folder / "checkpoints"
    if data.draw(st.booleans(), label="log"):
        log.write_bytes(b"".join(mutate_lines(data, log.read_bytes().splitlines(keepends=True))))
    if data.draw(st.booleans(), label="checkpoints"):
        mutate_checkpoints(data, places)
    state = [(f.name, f.read_bytes()) for f in (log, *sorted(places.iterdir()))]
    same = state == [
        (f.name, f.read_bytes()) for f in (signed / "ledger.jsonl", *sorted((signed / "checkpoints").iterdir()))
    ]
    found = notary_of(Ledger(log)).verify()
    assert found.ok == same, found.problems
    shutil.rmtree(folder.parent)
