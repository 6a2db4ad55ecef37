"""What a stage needs, what is sent to a worker, and checkpoints that go through a real DVC remote."""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from flows import elsewhere
from flows.checkpoint_store import FOLDER, CheckpointStore
from governance.errors import BadInput, MissingComponent
from tasks import lineage, params
from tasks.checkpoints import Checkpoints
from tests import servers
from tests.conftest import give_store
from tests.flows.conftest import ROOT


def placed(**placement: object) -> params.Params:
    import yaml

    settings = yaml.safe_load((ROOT / "params.yaml").read_text())
    settings["placement"] = placement
    return params.parse(settings, "params.yaml")


def test_what_cannot_be_placed_is_one_sentence() -> None:
    with pytest.raises(BadInput, match=r"stages[.]pppo is not a stage"):
        placed(stages={"pppo": {}})
    with pytest.raises(BadInput, match="needs 4 GPUs, and gpus is 2"):
        placed(stages={"ppo": {"device": "gpu", "number": 4}}, gpus=2)
    with pytest.raises(BadInput, match="device"):
        placed(stages={"ppo": {"device": "tpu"}})
    assert placed(stages={"ppo": {"pool": "gpu"}}).placement.stages["ppo"].device == "cpu"


def test_a_worker_gets_what_git_does_not_bring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    inputs = elsewhere._inputs("ppo")
    assert {"data/models/sft", "data/models/reward", "data/processed/ppo_prompts.parquet"} <= set(inputs)
    assert not [i for i in inputs if i.startswith(("tasks/", "data/raw/"))]


def test_a_worker_gets_the_files_that_params_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = (ROOT / "params.yaml").read_text(encoding="utf-8")
    changed = settings.replace("traces: data/raw/bigbench_mistake", "traces: data/raw/mine/steps.jsonl")
    (tmp_path / "params.yaml").write_text(changed, encoding="utf-8")
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(elsewhere.paths, "PARAMS", tmp_path / "params.yaml")
    inputs = elsewhere._inputs("reward")
    assert "data/raw/mine/steps.jsonl" in inputs and not [i for i in inputs if "{" in i]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Goes to a machine of its own that shares a DVC remote with the others."""

    def go(name: str) -> None:
        folder = tmp_path / name
        if not folder.is_dir():
            folder.mkdir()
            environment = os.environ | {"DVC_NO_ANALYTICS": "1"}
            dvc = [sys.executable, "-m", "dvc"]
            for command in (
                ["git", "init", "-q"],
                [*dvc, "init", "-q"],
                [*dvc, "remote", "add", "-d", "r", str(tmp_path / "remote")],
            ):
                subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
        monkeypatch.chdir(folder)
        monkeypatch.setenv("ATTESTRL_HOME", str(folder / ".attestrl"))

    return go


def training() -> Checkpoints:
    return Checkpoints("ppo", {"inputs": {}}, keep=2)


def save(step: int) -> None:
    training().save(step, {"w": torch.full((3,), float(step))}, {"trainer": {"step": step}})


def until(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_another_machine_goes_on_from_the_last_whole_checkpoint(machine: Callable[[str], None], tmp_path: Path) -> None:
    remote = tmp_path / "remote" / FOLDER / "ppo"
    machine("a")
    store = CheckpointStore("ppo")
    store.bring()
    assert training().latest() is None
    with store.kept_up():
        for step in (1, 2, 3):
            save(step)
            until(lambda: any(remote.glob(f"*/checkpoint-{step}/state.json")))  # noqa: B023
        until(lambda: not any(remote.glob("*/checkpoint-1")))  # what is not kept here is not kept there

    (torn,) = remote.glob("*/checkpoint-3/tensors.safetensors")  # the machine died while it copied the last one
    torn.write_bytes(torn.read_bytes()[:-4])
    machine("b")
    CheckpointStore("ppo").bring()
    found = training().latest()
    assert found is not None
    assert (found.step, found.tensors["w"].tolist()) == (2, [2.0] * 3)
    CheckpointStore("ppo").remove()
    assert not remote.exists()


def test_a_run_gives_up_on_workers_that_do_not_get_on(
    machine: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Losing one is a step of the training that it left behind, or none; the remote and MLflow's store are real."""
    from mlflow import MlflowClient

    machine("a")
    give_store(tmp_path / "a")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    experiment, client = lineage.connect("p"), MlflowClient()
    parent = client.create_run(experiment).info.run_id
    tags = {"mlflow.parentRunId": parent, "attestrl.stage": "ppo"}
    theirs = [client.create_run(experiment, tags=tags).info.run_id for _ in range(2)]
    left = iter([0, 0, 1, 0, 2, 0, 0])

    def lose(*_: object) -> None:
        if step := next(left):
            save(step)
            CheckpointStore("ppo")._copy_new()

    monkeypatch.setattr(elsewhere, "_answer", lose)
    with pytest.raises(
        MissingComponent, match=r"3 workers of the pool gpu were lost .* no checkpoint was made between"
    ):
        elsewhere._answer_of_some({"stage": "ppo", "parent_run": parent}, "gpu", 60)
    assert next(left, None) is None
    assert capsys.readouterr().err.count("a worker of the pool gpu was lost; the next one goes on") == 6
    assert {client.get_run(r).info.status for r in theirs} == {"KILLED"}
    assert client.get_run(parent).info.status == "RUNNING"


def test_no_remote_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], cwd=tmp_path, check=True, capture_output=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingComponent, match="a worker needs a DVC remote"):
        CheckpointStore("ppo")


def test_a_kind_of_remote_that_wants_a_package_is_one_sentence(
    machine: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine("a")
    monkeypatch.setitem(sys.modules, "dvc_s3", None)
    config = Path(".dvc/config")
    config.write_text(re.sub("url = .*", "url = s3://bucket/place", config.read_text()))
    with pytest.raises(MissingComponent, match="requires 'dvc-s3' to be installed"):
        CheckpointStore("ppo")


@pytest.mark.slow
def test_a_remote_that_is_away_is_waited_for(
    tmp_path: Path, machine: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    machine("a")
    Path("made").write_text("the work of hours")
    subprocess.run([sys.executable, "-m", "dvc", "add", "-q", "made"], check=True)
    (tmp_path / "remote").write_text("in the way")
    with pytest.raises(MissingComponent, match=r"dvc push: unexpected error - .*Not a directory"):
        elsewhere.call_dvc("push")
    back = threading.Timer(4, (tmp_path / "remote").unlink)
    back.start()
    elsewhere.call_dvc("push", patience=60)
    back.join()
    assert capsys.readouterr().err.count("trying again for 60 s") == 1
    assert [p.read_text() for p in (tmp_path / "remote").rglob("*") if p.is_file()] == ["the work of hours"]


FULL = """
mount -t tmpfs -o size=128k tmpfs ../remote
"$1" -c 'from flows import elsewhere; elsewhere.call_dvc("push", patience=60)' 2> said &
until grep -q 'trying again' said; do sleep 0.2; done
find ../remote -type f -name '??????????????????????????????' > taken_for_whole
mount -o remount,size=4m ../remote
wait $!
find ../remote -size 300000c -exec cmp made {} ';' -print
"""


@pytest.mark.slow
def test_a_remote_that_is_full_is_waited_for(machine: Callable[[str], None], tmp_path: Path) -> None:
    machine("a")
    Path("made").write_bytes(os.urandom(300_000))
    subprocess.run([sys.executable, "-m", "dvc", "add", "-q", "made"], check=True)
    (tmp_path / "remote").mkdir()
    command = ["unshare", "-rm", "sh", "-c", FULL, "sh", sys.executable]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    said = Path("said").read_text()
    assert len(done.stdout.splitlines()) == 1, done.stderr + said
    assert "No space left on device" in said and "trying again for 60 s" in said
    assert Path("taken_for_whole").read_text() == ""  # what is cut short has no name by which DVC would find it


@pytest.mark.slow
def test_a_bucket_is_a_remote_like_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By S3's protocol, spoken by a simulator (moto) in a process of its own: outputs, checkpoints, and a server that is away."""
    pytest.importorskip("dvc_s3")
    import boto3

    for name, value in {
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_DEFAULT_REGION": "eu-west-1",
    }.items():
        monkeypatch.setenv(name, value)
    dvc, config = (
        [sys.executable, "-m", "dvc"],
        "[core]\n    no_scm = true\n    remote = r\n['remote \"r\"']\n    url = s3://attestrl/dvc\n",
    )

    def machine(name: str, endpoint: str) -> None:
        (tmp_path / name / ".dvc").mkdir(parents=True)
        monkeypatch.chdir(tmp_path / name)
        monkeypatch.setenv("ATTESTRL_HOME", str(tmp_path / name / ".attestrl"))
        Path(".dvc/config").write_text(f"{config}    endpointurl = {endpoint}\n")

    with servers.s3() as endpoint:
        boto3.client("s3", endpoint_url=endpoint).create_bucket(
            Bucket="attestrl", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
        )
        machine("a", endpoint)
        Path("made").write_text("the work of hours")
        subprocess.run([*dvc, "add", "-q", "made"], check=True)
        elsewhere.call_dvc("push")
        store = CheckpointStore("ppo")
        with store.kept_up():
            save(1)
            until(lambda: any(f.name == "state.json" for f in store._remote_files()))
        pointer = Path("made.dvc").read_bytes()
        machine("b", endpoint)
        Path("made.dvc").write_bytes(pointer)
        elsewhere.call_dvc("pull")
        assert Path("made").read_text() == "the work of hours"
        CheckpointStore("ppo").bring()
        found = training().latest()
        assert found is not None
        assert (found.step, found.tensors["w"].tolist()) == (1, [1.0] * 3)
        CheckpointStore("ppo").remove()
        assert CheckpointStore("ppo")._remote_files() == []
    with pytest.raises(MissingComponent, match=r"dvc push: .*onnect"):
        elsewhere.call_dvc("push")
