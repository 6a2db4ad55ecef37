"""What stages wrote about themselves, and whether MLflow still knows it."""

from pathlib import Path

import pytest

from flows import preflight
from governance.digest import write_json
from governance.errors import MissingComponent
from tasks import lineage, paths
from tests.conftest import give_store


@pytest.mark.parametrize("content", [b"", b'{"cut', b"[]", b"\xff\xfe"])
def test_a_damaged_record_is_as_none(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_json(paths.report("sft") / "record.json", {"models": {"data/models/sft": "m-1"}})
    assert lineage.model_id_of(paths.SFT) == "m-1"
    (paths.report("base") / "record.json").parent.mkdir()
    (paths.report("base") / "record.json").write_bytes(content)
    assert lineage.read_record("base") == {}
    assert lineage.model_id_of(paths.SFT) == "m-1"  # another stage's is still found


def test_outputs_whose_run_the_store_does_not_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ATTESTRL_HOME", str(tmp_path / ".attestrl"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    give_store(tmp_path)
    import mlflow

    experiment = lineage.connect("attestrl")
    known = mlflow.MlflowClient().create_run(experiment).info.run_id
    preflight.check_store(paths.STAGES)
    write_json(paths.report("ingest") / "record.json", {"mlflow_run_id": known})
    preflight.check_store(paths.STAGES)
    write_json(paths.report("validate") / "record.json", {"mlflow_run_id": "0" * 32})
    with pytest.raises(MissingComponent, match=r"outputs of validate.*dvc repro --single-item --force validate`"):
        preflight.check_store(paths.STAGES)
    preflight.check_store(["ingest"])
