"""What every stage does around its own work: parameters, MLflow run, record, and one sentence when it fails.

A stage file ends with `run_stage("<name>", body)`. The body gets a `Stage`, reads tables and models through it, and
leaves its outputs; the record `data/reports/<name>/record.json` is written last. A receipt, if the caller asked for
one by `ATTESTRL_RECEIPT`, tells that the stage ran, and how it ended.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from governance.digest import sha256_path, write_json
from governance.errors import AttestError, MissingComponent, explained
from tasks import context_length, environment, launcher, lineage, params, paths

if TYPE_CHECKING:
    from tasks.rlhf.precision import Bf16
    from tasks.tracked import TrackedTable


class Stage:
    """One execution of one stage, with its MLflow run."""

    follows = False  # whether another process writes what this one works out

    def __init__(self, name: str, settings: params.Params, mlflow_run_id: str) -> None:
        self.name = name
        self.params = settings
        self.seed = settings.seed
        self.mlflow_run_id = mlflow_run_id
        self.report = paths.report(name)
        self.metrics: dict[str, float] = {}
        self.notes: dict[str, Any] = {}
        self._inputs: dict[str, str] = {}
        self._outputs: dict[str, str] = {}
        self._models: dict[str, str] = {}
        self._tables: dict[Path, TrackedTable] = {}
        self.report.mkdir(parents=True, exist_ok=True)

    def input_table(self, path: Path, context: str) -> Path:
        """Log a table as an input dataset of the run (`context`: training, evaluation, …) and give its path."""
        import mlflow

        table = self._table(path)
        mlflow.log_input(table, context=context)
        self._inputs[path.as_posix()] = table.sha256
        return path

    def input_model(self, folder: Path) -> Path:
        """Log the model in `folder` as an input of the run and give its path. Raises BadInput if params.yaml has a length
        that it cannot see: one raised since the model was made."""
        context_length.check_context(self.params, folder)
        import mlflow
        from mlflow.entities import LoggedModelInput

        self._inputs[folder.as_posix()] = sha256_path(folder)
        model_id = lineage.model_id_of(folder)
        mlflow.set_tag(f"input_model.{folder.name}", model_id or self._inputs[folder.as_posix()])
        known = model_id and mlflow.search_logged_models(
            filter_string=f"model_id = '{model_id}'", max_results=1, output_format="list"
        )
        if model_id and known:
            mlflow.MlflowClient().log_inputs(self.mlflow_run_id, models=[LoggedModelInput(model_id)])
        return folder

    def output_table(self, path: Path) -> None:
        """Log a table that the stage wrote as a dataset with context `output`."""
        import mlflow

        table = self._table(path)
        mlflow.log_input(table, context="output")
        self._outputs[path.as_posix()] = table.sha256

    def output_model(self, folder: Path, tags: Mapping[str, str], register_as: str | None = None) -> str:
        """Log the model folder as a logged model of the run, register it if asked, and give its model id."""
        import mlflow
        from mlflow.entities import LoggedModelOutput, LoggedModelStatus

        digest = sha256_path(folder)
        every = {"git_commit": lineage.git_commit(), "sha256": digest, "path": folder.as_posix(), **tags}
        client = mlflow.MlflowClient()
        model = mlflow.initialize_logged_model(
            name=folder.name, source_run_id=self.mlflow_run_id, model_type="transformers-folder", tags=every
        )
        client.log_model_artifacts(model.model_id, str(folder))
        mlflow.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        client.log_outputs(self.mlflow_run_id, [LoggedModelOutput(model.model_id, 0)])
        self._outputs[folder.as_posix()] = digest
        self._models[folder.as_posix()] = str(model.model_id)
        if register_as:
            version = mlflow.register_model(f"models:/{model.model_id}", register_as, tags=every)
            self.notes["registered"] = {"name": register_as, "version": str(version.version)}
        return str(model.model_id)

    def log_metrics(
        self, values: Mapping[str, float], *, step: int = 0, model: Path | None = None, table: Path | None = None
    ) -> None:
        """Log metrics, tied to the model in `model` and the dataset in `table` if given; the last value of each is
        kept in the record."""
        import mlflow

        dataset = self._table(table) if table else None
        mlflow.log_metrics(dict(values), step=step, model_id=self._model_id(model), dataset=dataset)
        self.metrics.update(values)

    def log_history(self, history: Sequence[Mapping[str, float]], model: Path, table: Path) -> None:
        """Log a training's rows {"step", metric: value, …} as curves of the `model` that was trained on `table`."""
        import mlflow
        from mlflow.entities import Metric

        now, dataset = int(time.time() * 1000), self._table(table)
        about = {"model_id": self._model_id(model), "dataset_name": dataset.name, "dataset_digest": dataset.digest}
        rows = [
            Metric(key, float(value), now, int(row["step"]), **about, run_id=self.mlflow_run_id)
            for row in history
            for key, value in row.items()
            if key != "step"
        ]
        for at in range(0, len(rows), 1000):  # the most that the server takes at once
            mlflow.MlflowClient().log_batch(self.mlflow_run_id, metrics=rows[at : at + 1000])

    def log_table(self, rows: Sequence[Mapping[str, Any]], name: str) -> None:
        """Add rows, which have the same keys, to a table of the run."""
        import mlflow

        mlflow.log_table({key: [row[key] for row in rows] for key in rows[0]}, f"{name}.json")

    def log_artifact(self, path: Path) -> None:
        """Attach a file or folder of the report to the run."""
        import mlflow

        (mlflow.log_artifacts if path.is_dir() else mlflow.log_artifact)(
            str(path), path.name if path.is_dir() else None
        )

    def finish(self, seconds: float, cpu_seconds: float) -> None:
        """Write the record: what was made, from what, by which run."""
        for file in sorted(self.report.iterdir()):
            self._outputs.setdefault(file.as_posix(), sha256_path(file))
        record = {
            "stage": self.name,
            "mlflow_run_id": self.mlflow_run_id,
            "model_id": next(iter(self._models.values()), None),
            "models": self._models,
            "seed": self.seed,
            "seconds": round(seconds, 3),
            "cpu_seconds": round(cpu_seconds, 3),
            "git_commit": lineage.git_commit(),
            "inputs": self._inputs,
            "outputs": self._outputs,
            "metrics": self.metrics,
            "notes": self.notes,
        }
        write_json(self.report / "record.json", record)

    def _model_id(self, folder: Path | None) -> str | None:
        return (self._models.get(folder.as_posix()) or lineage.model_id_of(folder)) if folder else None

    def _table(self, path: Path) -> TrackedTable:
        from tasks.tracked import TrackedTable

        if path not in self._tables:
            self._tables[path] = TrackedTable(path)
        return self._tables[path]


class Follower(Stage):
    """One of several processes that share a training, not the first: it reads, trains and leaves nothing."""

    follows = True

    def __init__(self, name: str, settings: params.Params) -> None:
        super().__init__(name, settings, "")

    def input_table(self, path: Path, context: str) -> Path:
        """The table's path."""
        return path

    def input_model(self, folder: Path) -> Path:
        """The model's folder."""
        return folder

    def log_table(self, rows: Sequence[Mapping[str, Any]], name: str) -> None:
        """Nothing: the first process logs."""


def run_stage(name: str, body: Callable[[Stage], None]) -> None:
    """Run a stage as a program. Ends the process with the exit code of the error, if there is one."""
    environment.prepare()
    if launcher.rank() == 0:
        _receipt({"stage": name, "outcome": "started"})
    try:
        settings, machines = params.load(paths.PARAMS), launcher.Machines.of_environment()
        processes = settings.processes_of(name)
        if settings.shares(name):
            launcher.check_sharding(settings.sharding, settings.num_processes, machines)
        if processes * machines.count > 1 and settings.shares(name) and not launcher.launched():
            launcher.launch(name, processes, machines)
        else:
            execute(name, body)
    except Exception as error:
        known = explained(error) or launcher.left_alone(error) or unforeseen(name, error)
        with contextlib.suppress(OSError):  # a full disk takes no receipt either
            _failed(name, known)
        if not os.environ.get("ATTESTRL_RECEIPT"):  # whoever asked for a receipt says it
            print(f"{name}: {known}", file=sys.stderr)
        sys.exit(known.exit_code)
    if launcher.rank() == 0:
        _receipt({"stage": name, "outcome": "made"})


def _failed(name: str, error: AttestError) -> None:
    """Leave a receipt, unless another process has: what fails next fails because of the first."""
    path = Path(os.environ.get("ATTESTRL_RECEIPT", ""))
    if launcher.launched() and path.is_file() and '"failed"' in path.read_text(encoding="utf-8"):
        return
    message = f"process {launcher.rank()}: {error}" if launcher.rank() else str(error)
    _receipt({"stage": name, "outcome": "failed", "message": message, "exit_code": error.exit_code})


def unforeseen(name: str, error: Exception) -> AttestError:
    """A sentence for an error that nobody foresaw; the traceback goes to a file."""
    log = paths.home() / "logs" / f"{name}-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}.txt"
    where = f"the traceback is in {log}"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    except OSError:
        where = f"{log} cannot be written"
    said = " ".join(str(error).split())[:300]
    return MissingComponent(f"an unforeseen error, {type(error).__name__}: {said}; {where}.")


def execute(name: str, body: Callable[[Stage], None]) -> None:
    """Run a stage inside this process, in an MLflow run of its own."""
    settings = params.load(paths.PARAMS)
    if launcher.launched():
        from tasks.rlhf.processes import accelerate_state

        accelerate_state()  # meets the other processes, before a model is loaded onto this one's device
    if launcher.rank() > 0:
        body(Follower(name, settings))
        return
    import mlflow

    lineage.connect(settings.project)
    tags = {"attestrl.stage": name, "attestrl.process": str(os.getpid()), "attestrl.place": paths.place()}
    if parent := os.environ.get("ATTESTRL_PARENT_RUN"):
        tags["mlflow.parentRunId"] = parent
    started, cpu = time.monotonic(), _cpu_seconds()
    with mlflow.start_run(run_name=name, tags=tags) as run:
        try:
            stage = Stage(name, settings, run.info.run_id)
            section = getattr(settings, settings.section_of(name), None)
            values = section.model_dump() if section else {}
            if "bf16" in values:
                values["bf16"] = stage.notes["bf16"] = _in_bf16(values["bf16"])
            mlflow.log_params({"seed": settings.seed, **values})
            body(stage)
            stage.finish(time.monotonic() - started, _cpu_seconds() - cpu)
        except AttestError as error:
            mlflow.set_tag("attestrl.reason", str(error))
            raise


def _in_bf16(asked: Bf16) -> bool:
    """Whether this process computes in bf16, on the device that it has."""
    from tasks.rlhf.precision import in_bf16
    from tasks.rlhf.processes import accelerate_state

    return in_bf16(asked, accelerate_state().device)


def _cpu_seconds() -> float:
    """Processor time of this process and of the children it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def _receipt(content: dict[str, Any]) -> None:
    if path := os.environ.get("ATTESTRL_RECEIPT"):
        write_json(Path(path), content)
