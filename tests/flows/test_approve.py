"""`attestrl approve` as a person types it: what an earlier verdict, a tag or an alias says counts for nothing."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows import release
from governance.digest import sha256_bytes, sha256_path
from governance.entry import Entry
from governance.errors import GateRefused
from governance.ledger import Ledger
from tests.conftest import ROOT, give_store
from tests.governance.conftest import notary_of
from tests.governance.judged import RUN, SOURCE, make_judged
from tests.typed import attestrl


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a run that the gate let pass, and its policy in the registry."""
    folder = tmp_path_factory.mktemp("approve") / "project"
    (folder / SOURCE).parent.mkdir(parents=True)
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy2(ROOT / name, folder / name)
    home = folder / ".attestrl"
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATTESTRL_HOME", str(home))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        Path(SOURCE).write_text("item_id,annotator_id,choice\n")
        make_judged(notary_of(Ledger(home / "ledger.jsonl")), home, Path("data/models"))
        import mlflow

        from tasks import lineage

        give_store(folder)
        lineage.connect("demo")
        with mlflow.start_run() as run:
            model = mlflow.initialize_logged_model(name="policy", source_run_id=run.info.run_id)
            mlflow.MlflowClient().log_model_artifacts(model.model_id, "data/models/policy")
            mlflow.finalize_logged_model(model.model_id, "READY")
            mlflow.register_model(f"models:/{model.model_id}", "demo-policy")
            os.environ.pop("MLFLOW_TRACKING_URI", None)
    return folder


@contextlib.contextmanager
def changed(file: Path, **fields: Any) -> Iterator[None]:
    """Other fields in a JSON document, for a while."""
    kept = file.read_bytes()
    file.write_text(json.dumps(json.loads(kept) | fields))
    try:
        yield
    finally:
        file.write_bytes(kept)


def entries(folder: Path) -> list[Entry]:
    return list(Ledger(folder / ".attestrl/ledger.jsonl").entries(RUN))


def refused(folder: Path, sentence: str) -> None:
    """The command says no, says why, and the log has both, with what was shown."""
    before = len(entries(folder))
    done = attestrl(folder, "approve", RUN, "--reason", "looks fine")
    assert done.returncode == 1, done.stderr
    assert sentence in done.stderr
    (added,) = entries(folder)[before:]
    assert added.type == "decision.refused"
    assert sentence in added.data["because"]
    assert added.data["shown"] in done.stderr
    assert added.subject_digests["shown"] == sha256_bytes(added.data["shown"].encode())
    assert attestrl(folder, "ledger", "verify").returncode == 0


@pytest.mark.parametrize(
    ("file", "fields", "sentence"),
    [
        ("data/models/reward/lineage.json", {"base_sha256": "e" * 64}, "different bases"),
        (f".attestrl/records/{RUN}/reports/evaluate.json", {"metrics": []}, "is not the record that the ledger names"),
        (f".attestrl/records/{RUN}/run.json", {"status": "done!"}, "is not the record that the ledger names"),
    ],
)
def test_what_was_changed_since_is_refused(released: Path, file: str, fields: dict[str, Any], sentence: str) -> None:
    if "models/reward" in file:  # the registry does not hold the reward model of this run, so the workspace's is asked
        sentence = "is not the run's any more"
        with changed(released / file, **fields):
            done = attestrl(released, "approve", RUN, "--reason", "looks fine")
            assert (done.returncode, sentence in done.stderr) == (2, True), done.stderr
        return
    with changed(released / file, **fields):
        refused(released, sentence)


def test_the_bytes_that_the_registry_would_deliver_are_hashed(released: Path) -> None:
    (delivered,) = (released / ".attestrl/artifacts").rglob("model.safetensors")
    kept = delivered.read_bytes()
    delivered.write_bytes(b"other")
    try:
        refused(released, "data/models/policy: not the bytes that this run made")
    finally:
        delivered.write_bytes(kept)


def test_data_whose_time_is_over_block_a_release(released: Path) -> None:
    declared = (released / SOURCE).with_name("retention.yaml")
    declared.write_text("retain_until: 2020-01-31\naction: review\n")
    refused(released, f"data may not be kept any more: {SOURCE} until 2020-01-31")
    declared.unlink()


def test_an_open_incident_blocks_a_release_until_it_is_closed(released: Path) -> None:
    opened = attestrl(
        released, "incident", "open", "--severity", "serious", "--summary", "harm", "--run", RUN, "--json"
    )
    assert opened.returncode == 0, opened.stderr
    name = json.loads(opened.stdout)["incident_id"]
    (released / "probe.jsonl").write_text('{"prompt": "x"}\n')
    params = (released / "params.yaml").read_text()
    (released / "params.yaml").write_text(params.replace("harmful: {}", "harmful: {probe: probe.jsonl}"))
    done = attestrl(released, "approve", RUN, "--reason", "looks fine")
    assert done.returncode == 1
    assert f"serious incidents are open ({name})" in done.stderr
    assert attestrl(released, "incident", "update", name, "--note", "sent", "--reported").returncode == 0
    closing = ("incident", "close", name, "--cause", "known", "--evaluation", "probe.jsonl")
    assert attestrl(released, *closing).returncode == 0


def test_a_broken_bound_needs_a_second_person_and_a_reason(released: Path, tmp_path: Path) -> None:
    """Asked by one, approved by another on a copy of the project; nobody alone, and nobody without a reason."""
    project = tmp_path / "project"
    shutil.copytree(released, project, symlinks=True)
    report = project / f".attestrl/evaluations/{RUN}/report.html"
    report.parent.mkdir(parents=True)
    report.write_text("<h1>Evaluation</h1>")
    broken = {"verdict": "broken", "sentence": "A bound is broken."}
    log = Ledger(project / ".attestrl/ledger.jsonl")
    digests = {"report": sha256_path(report)}
    log.append("evaluation.made", run_id=RUN, actor="user:a", subject_digests=digests, data=broken)
    copied = shutil.copytree(project, tmp_path / "copied", symlinks=True)

    def approve(who: str, *more: str) -> None:
        with contextlib.chdir(project), pytest.MonkeyPatch.context() as patch:
            patch.setenv("ATTESTRL_HOME", str(project / ".attestrl"))
            override = bool(more)
            try:
                release.decide(RUN, "I know why", approved=True, show=print, actor=f"user:{who}", override=override)
            finally:
                os.environ.pop("MLFLOW_TRACKING_URI", None)

    for who, *more in (("anna",), ("anna", "--override"), ("bert",)):
        with pytest.raises(GateRefused, match="declared bound is broken"):
            approve(who, *more)
    for name in ("anna", "bert"):  # a name in a variable makes no second person of one account
        done = attestrl(copied, "approve", RUN, "--reason", "I know why", "--override", LOGNAME=name, USER=name)
        assert (done.returncode, "declared bound is broken" in done.stderr) == (1, True), done.stderr
    approve("bert", "--override")
    approved = next(e for e in entries(project) if e.type == "decision.approved")
    first = next(e for e in entries(project) if e.entry_hash == approved.data["overrides"]["entry"])
    assert (approved.actor, first.actor) == ("user:bert", "user:anna") and first.type == "decision.refused"
    assert "First asked by user:anna: I know why" in approved.data["shown"]


def test_an_approval_that_was_cut_short_is_finished_by_approving_again(released: Path, tmp_path: Path) -> None:
    """As of a process that is killed, or a registry that goes away, between the log and the alias."""
    project = Path(shutil.copytree(released, tmp_path / "project", symlinks=True))
    code = "import os; from flows import cli, release; release.move_alias = lambda *_: os._exit(9); cli.main()"
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ATTESTRL_", "MLFLOW_"))}
    command = [sys.executable, "-c", code, "approve", RUN, "--reason", "read it"]
    cut = subprocess.run(command, cwd=project, env=environment | {"PYTHONPATH": str(ROOT)}, check=False)
    assert cut.returncode == 9
    again = attestrl(project, "approve", RUN, "--reason", "read it")
    assert (again.returncode, "champion now" in again.stdout) == (0, True), again.stderr
    types = [e.type for e in entries(project)]
    assert types[-2:] == ["decision.approved", "alias.moved"]
    assert types.count("decision.approved") == 1
    third = attestrl(project, "reject", RUN, "--reason", "read it")
    assert (third.returncode, "was decided already" in third.stderr) == (2, True), third.stderr


def test_a_form_that_showed_something_else_decides_nothing(released: Path) -> None:
    from flows import approval

    before = entries(released)
    answer = approval.Decision(approve=True, reason="read it", who="Ada", shown=sha256_bytes(b"what stood there"))
    with contextlib.chdir(released), pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATTESTRL_HOME", str(released / ".attestrl"))
        with pytest.raises(GateRefused, match="what the form showed has changed since"):
            approval.decide(RUN, answer)
    assert entries(released) == before


def test_an_honest_approval_is_bound_to_what_was_shown(released: Path) -> None:
    assert attestrl(released, "approve", RUN, "--reason", " ").returncode == 2
    needless = attestrl(released, "approve", RUN, "--reason", "read it all", "--override")
    assert (needless.returncode, "nothing to override" in needless.stderr) == (2, True), needless.stderr
    done = attestrl(released, "approve", RUN, "--reason", "read it all")
    assert done.returncode == 0, done.stderr
    assert "champion now" in done.stdout
    approved = next(e for e in entries(released) if e.type == "decision.approved")
    assert approved.data["shown"] in done.stderr
    assert "Judged again from the evidence: pass" in approved.data["shown"]
    assert approved.subject_digests["shown"] == sha256_bytes(approved.data["shown"].encode())
    assert approved.subject_digests["policy"] == sha256_path(released / "data/models/policy")
    assert all(c["ok"] for c in approved.data["checked"])
    assert attestrl(released, "ledger", "verify").returncode == 0
