"""Data and base models named as on the Hugging Face Hub, fetched by its own client from a hub on localhost."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from governance.digest import sha256_path
from tests.end_to_end.conftest import Project
from tests.local_hub import COMMIT, local_hub

pytestmark = [pytest.mark.end_to_end, pytest.mark.xdist_group("bad input")]


@pytest.fixture(scope="module")
def hub(untouched: Project, hh_rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("hub")
    pairs = root / "datasets/somebody/pairs/data"
    pairs.mkdir(parents=True)
    rows = "".join(json.dumps({k: r[k] for k in ("prompt", "chosen", "rejected")}) + "\n" for r in hh_rows)
    (pairs / "train.jsonl").write_text(rows, encoding="utf-8")
    shutil.copytree(untouched.folder / "data/raw/tiny/a", root / "models/somebody/tiny")
    with local_hub(root) as url:
        yield url


@pytest.fixture
def online(hub: str, untouched: Project, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Environment of a command that asks this hub; params.yaml is as before afterwards."""
    file = untouched.folder / "params.yaml"
    before = file.read_bytes()
    yield untouched.environment | {"HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "home")}
    file.write_bytes(before)


@pytest.mark.slow
def test_pairs_and_a_model_by_their_hub_names(
    untouched: Project, online: dict[str, str], hh_rows: list[dict[str, Any]]
) -> None:
    """Of somebody who has nothing else: no votes, no panel, nothing to audit."""
    names = ["ingest.preferences=somebody/pairs", "base.model=somebody/tiny", "ingest.panel=null", "ingest.audits={}"]
    changes = [argument for name in names for argument in ("--set", name)]
    record = untouched.run("--params", "tiny.yaml", *changes, "--until", "base", env=online)
    assert record["status"] == "done", record["message"]
    summary = json.loads((untouched.folder / "data/reports/ingest/summary.json").read_text(encoding="utf-8"))
    assert str(len(hh_rows)) in json.dumps(summary)
    weights = "data/raw/tiny/a/model.safetensors"
    assert sha256_path(untouched.folder / "data/models/base/model.safetensors") == sha256_path(
        untouched.folder / weights
    )
    lineage = (untouched.folder / "data/models/base/lineage.json").read_text(encoding="utf-8")
    assert COMMIT in lineage  # a hub's name alone does not say which weights
    checked = json.loads((untouched.folder / "data/reports/annotators/summary.json").read_text(encoding="utf-8"))
    assert checked["annotators"] == 0
    assert not (untouched.folder / "data/reports/annotators/audits").exists()


def test_a_name_that_the_hub_does_not_know(untouched: Project, online: dict[str, str], tmp_path: Path) -> None:
    arguments = ["--preferences", "nobody/nothing", "--out", str(tmp_path / "out")]
    done = untouched.attestrl("check", "poisoning", *arguments, env=online)
    assert done.returncode == 3
    assert "nobody/nothing" in done.stderr
    assert not (tmp_path / "out").exists()
