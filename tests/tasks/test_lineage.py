"""What stages wrote about themselves, and whether MLflow still knows it."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from flows import preflight
from governance.digest import write_json
from governance.errors import MissingComponent
from tasks import lineage, paths
from tests.conftest import ROOT, give_store


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


def size(file: Path) -> int:
    """Bytes; none of a journal that went meanwhile."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


@pytest.mark.slow
def test_a_store_that_was_being_made_when_the_process_was_killed(tmp_path: Path) -> None:
    """MLflow calls tables that are half made an old store, and cannot bring them up to date."""
    code = "from tasks import lineage; print(lineage.connect('project'))"
    environment = os.environ | {"ATTESTRL_HOME": str(tmp_path / "state"), "PYTHONPATH": str(ROOT)}
    options: dict[str, Any] = {"cwd": tmp_path, "env": environment, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, "-c", code], **options) as making:
        while not any(size(p) > 200_000 for p in tmp_path.glob("state/*mlflow.db*")):
            assert making.poll() is None
            time.sleep(0.005)
        making.kill()
    assert subprocess.check_output([sys.executable, "-c", code], **options).strip() == b"1"
