"""Artifacts that a real MLflow server keeps: found by what they hold, deleted through the client, once."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from flows import artifacts, erasure
from governance.entry import Event
from governance.errors import MissingComponent
from governance.ledger import Ledger
from tasks import lineage, params, paths, pseudonyms
from tests import servers
from tests.conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.production, pytest.mark.xdist_group("artifacts")]
PERSON = "ann-4711"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "project"
    folder.mkdir()
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy2(ROOT / name, folder / name)
    monkeypatch.setenv("ATTESTRL_HOME", str(folder / ".attestrl"))
    with contextlib.chdir(folder):
        yield folder


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What an MLflow server keeps, elsewhere than the project."""
    elsewhere = tmp_path / "server"
    elsewhere.mkdir()
    store = ["--backend-store-uri", f"sqlite:///{elsewhere}/mlflow.db", "--serve-artifacts"]
    store += ["--artifacts-destination", str(elsewhere / "artifacts")]
    with servers.mlflow({}, store, elsewhere / "log") as url:
        servers.wait_until(lambda: servers.answers(f"{url}/health"), elsewhere / "log")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        yield elsewhere


def attach(*files: Path, gone: bool = False) -> str:
    """A run of the project with these artifacts; one that was deleted since, if asked."""
    import mlflow

    with mlflow.start_run() as run:
        for file in files:
            mlflow.log_artifact(str(file), "reports/tables")
    if gone:
        mlflow.MlflowClient().delete_run(run.info.run_id)
    return str(run.info.run_id)


def test_an_erasure_reaches_what_a_server_keeps(project: Path, server: Path, tmp_path: Path) -> None:
    import mlflow

    lineage.connect(params.load(paths.PARAMS).project)
    person = pseudonyms.pseudonym(PERSON, pseudonyms.key())
    (tmp_path / "annotators.csv").write_text(f"annotator_id,flag\n{person},1\n{person},1\np-other,0\n")
    pl.DataFrame({"annotator_id": [person] * 300}).write_parquet(tmp_path / "votes.parquet")
    (tmp_path / "summary.json").write_text("{}")
    table, others = tmp_path / "annotators.csv", (tmp_path / "summary.json", tmp_path / "votes.parquet")
    first, second = attach(table, others[0]), attach(*others, gone=True)
    found = {name: rows for name, _, rows in artifacts.holders(person)}
    assert found == {f"{first}:reports/tables/annotators.csv": 2, f"{second}:reports/tables/votes.parquet": 300}
    assert len(artifacts.of_runs([first])) == 2

    said: list[str] = []
    document = erasure.erase(PERSON, "user:a", said.append)
    assert (document["rows"], document["files"], document["artifacts"]) == (302, 0, 2)
    assert "MLflow store: 2 artifacts removed." in said
    assert not list(artifacts.holders(person))
    left = [p.name for p in (server / "artifacts").rglob("*") if p.is_file()]
    assert sorted(left) == ["summary.json", "summary.json"]
    assert artifacts.delete(found) == 0
    (entry,) = (e for e in Ledger(project / ".attestrl/ledger.jsonl").entries() if e.type == Event.ERASED)
    assert entry.data["artifacts"] == 2
    assert erasure.erase(PERSON, "user:a", said.append)["erasure"] is None
    assert mlflow.get_tracking_uri().startswith("http://")


def test_a_server_that_is_away_keeps_an_erasure_from_beginning(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    person = pseudonyms.pseudonym(PERSON, pseudonyms.key())
    table = project / "data/interim/votes.csv"
    table.parent.mkdir(parents=True)
    table.write_text(person)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{servers.free_port()}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(MissingComponent, match="artifacts in the MLflow store"):
        erasure.erase(PERSON, "user:a", lambda _: None)
    assert table.exists()
    assert not (project / ".attestrl/ledger.jsonl").exists()
