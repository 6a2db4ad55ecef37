"""`attestrl evaluate`: the suite on the models of a run, its report, and what of it is kept: files, MLflow, ledger."""

import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from flows import listing, sealing
from governance import incidents
from governance.decision import current_actor
from governance.digest import sha256_path, write_json
from governance.entry import Event
from governance.errors import BadInput, GateRefused
from tasks import lineage, params, paths
from tasks.evaluation_params import Suite
from tasks.review_store import ReviewStore

LANGUAGE = {"base": paths.BASE, "sft": paths.SFT, "policy": paths.POLICY}
SCORERS = {"reward": paths.REWARD, "judge": paths.JUDGE}
SIDES = {name: paths.PROCESSED / f"{name}.parquet" for name in ("reward_test", "eval_prompts", "sft", "reward_train")}
TRAINING = paths.report("ppo") / "samples.jsonl"
REPORT = "report.html"
RATED = {"preference", "ratings"}  # evaluations of every policy of the registry


def evaluate(run_id: str, names: Sequence[str]) -> dict[str, Any]:
    """Run the named evaluations (all if none is named) on a run's models; what came of it, with the report's digest.

    Evaluations that were done before on the same models stay in the report.
    """
    from tasks.evals import suite

    chosen = suite.check_names(names)
    record = listing.load(run_id)
    if not record.get("policy"):
        raise BadInput(f"{record['run_id']}: made no policy, so there is nothing to evaluate.")
    settings = params.load(paths.PARAMS)
    lineage.connect(record["project"])
    folder = folder_of(record["run_id"])
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        suite.run(bench_of(record, settings, rated=not RATED.isdisjoint(chosen)), chosen, folder / "results")
        return _conclude(record, settings, folder)


def folder_of(run_id: str) -> Path:
    """Where the evaluation of a run is."""
    return paths.home() / "evaluations" / run_id


def measures(evaluation: Path) -> bool:
    """Whether the suite of params.yaml, as it is now, reads a file."""
    return any(f.samefile(evaluation) for f in params.load(paths.PARAMS).suite.files())


def unseen(suite: Suite) -> list[str]:
    """Sentences on closed incidents whose evaluation the suite no longer reads: under its name, or with its bytes."""
    files = suite.files()
    names = {f.name for f in files}
    sentences = []
    for incident in incidents.incidents(sealing.ledger()):
        lost = {
            n for n, sha256 in incident.evaluation.items() if n not in names and sha256 not in map(sha256_path, files)
        }
        sentences += [
            f"{incident.incident_id} would come back unseen: {name}, with which it was closed, is no longer in the suite."
            for name in sorted(lost)
        ]
    return sentences


def shown_report(run_id: str, ledger: Any) -> tuple[str, dict[str, str]]:
    """(line about the evaluation for the person who decides, digest of the report by name), also where none was made.

    Raises GateRefused if the report is not the one that the ledger names.
    """
    file = folder_of(run_id) / REPORT
    entry = next((e for e in reversed(list(ledger.entries(run_id))) if e.type == Event.EVALUATED), None)
    if entry is None:
        return f"Evaluation: none was made; `attestrl evaluate {run_id}` makes one.\n", {}
    digest = sha256_path(file) if file.is_file() else ""
    if digest != entry.subject_digests["report"]:
        raise GateRefused(f"{file}: is not the report that the ledger names; run `attestrl evaluate {run_id}` again.")
    return f"Evaluation: {entry.data['sentence']}\n  {file} {digest}\n", {"evaluation report": digest}


def bench_of(record: dict[str, Any], settings: params.Params, *, rated: bool) -> Any:
    """Models, data and settings of an evaluation of a run; `rated`: with the registry's other policies."""
    from tasks.evals.bench import Bench
    from tasks.evals.response_cache import ResponseCache

    digests = digests_of(record)
    models = {name: model_of_run(folder, digests) for name, folder in (LANGUAGE | SCORERS).items()}
    check_tables(SIDES.values(), record)
    return Bench(
        settings=settings.suite,
        seed=settings.seed,
        policies={name: models[name] for name in LANGUAGE},
        rated=_rated(record["policy"]) if rated else {},
        scorers={name: models[name] for name in SCORERS},
        sides=SIDES,
        cache=ResponseCache(paths.home() / "responses.sqlite"),
        max_length=settings.reward.max_length,
        people=ReviewStore(paths.review_queue()).compared(),
        training=TRAINING if TRAINING.is_file() and sha256_path(TRAINING) == digests.get(TRAINING.as_posix()) else None,
    )


def digests_of(record: dict[str, Any]) -> dict[str, str]:
    """SHA-256 of what a run made, by path."""
    return {o["path"]: o["sha256"] for stage in record["stages"] for o in stage["outputs"]}


def check_tables(tables: Iterable[Path], record: dict[str, Any]) -> None:
    """Raises BadInput if a table of the workspace is not the one of the run."""
    digests = digests_of(record)
    for path in tables:
        if not path.is_file() or sha256_path(path) != digests.get(path.as_posix()):
            raise BadInput(f"{path}: is not the table of {record['run_id']}; bring it back with `dvc checkout`.")


def model_of_run(folder: Path, digests: dict[str, str]) -> Path:
    """The workspace's model if it is the run's, else the registered bytes of the run's."""
    wanted = digests.get(folder.as_posix())
    if wanted is None:
        raise BadInput(f"the run made no {folder.name} model; evaluate a run that ended.")
    if folder.is_dir() and sha256_path(folder) == wanted:
        return folder
    import mlflow

    found = mlflow.search_logged_models(filter_string=f"tags.sha256 = '{wanted}'", max_results=1, output_format="list")
    if not found:
        raise BadInput(f"{folder}: is not the run's any more, and MLflow does not hold the run's; see `dvc checkout`.")
    return _downloaded(f"models:/{found[0].model_id}", wanted)


def _downloaded(uri: str, sha256: str) -> Path:
    """A logged model's files, kept by their digest. Raises GateRefused if they have another one."""
    import mlflow

    folder = paths.home() / "models" / sha256
    if folder.is_dir() and sha256_path(folder) == sha256:
        return folder
    partial = folder.with_name(f".{sha256}.partial")
    for left in (folder, partial):  # a copy that was damaged, or cut short
        shutil.rmtree(left, ignore_errors=True)
    partial.mkdir(parents=True)
    Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(partial))).rename(folder)
    if sha256_path(folder) != sha256:
        raise GateRefused(f"{uri}: its bytes are not those it was registered with.")
    return folder


def _rated(policy: dict[str, Any]) -> dict[str, Path]:
    """Every other policy of the registry by version; a version whose bytes are gone is left out, and that is said."""
    import mlflow
    from mlflow.exceptions import MlflowException

    versions = mlflow.MlflowClient().search_model_versions(f"name = '{policy['name']}'")
    others: dict[str, Path] = {}
    known = {policy["sha256"]}
    for v in sorted(versions, key=lambda v: -int(v.version)):
        sha256 = v.tags.get("sha256")
        if not sha256 or sha256 in known:
            continue
        known.add(sha256)
        try:
            others[f"version {v.version}"] = _downloaded(f"models:/{v.name}/{v.version}", sha256)
        except (MlflowException, OSError):
            print(f"attestrl: {v.name} version {v.version}: is not rated, its files are gone.", file=sys.stderr)
    return others


def _conclude(record: dict[str, Any], settings: params.Params, folder: Path) -> dict[str, Any]:
    from tasks.evals import suite, verdict
    from tasks.evals.report import write_report

    evaluations = [e for e in _results(folder) if _of_policy(e, record["policy"]["sha256"])]
    order = list(suite.EVALUATIONS)
    evaluations.sort(key=lambda e: order.index(e["evaluation"]))
    rows = [r for e in evaluations for r in e["results"] if r["value"] is not None]
    decided = suite.finite(verdict.verdict(settings.hypotheses, rows, unseen(settings.suite)))
    write_json(folder / "verdict.json", decided)
    write_report(
        folder / REPORT,
        run_id=record["run_id"],
        policy=record["policy"],
        evaluations=evaluations,
        verdict=decided,
        champion=_champion(record),
        simulated=record["simulated"],
    )
    digests = {
        "report": sha256_path(folder / REPORT),
        "verdict": sha256_path(folder / "verdict.json"),
        "policy": record["policy"]["sha256"],
    } | {f"results/{e['evaluation']}": sha256_path(folder / "results" / f"{e['evaluation']}.json") for e in evaluations}
    actor = current_actor()
    data = {k: decided[k] for k in ("verdict", "sentence")}
    ledger = sealing.notary().ledger
    ledger.append(Event.EVALUATED, run_id=record["run_id"], actor=actor, subject_digests=digests, data=data)
    sealing.seal(actor)
    _tell_mlflow(record, rows, folder, decided)
    return {
        "run_id": record["run_id"],
        **decided,
        "report": str(folder / REPORT),
        "report_sha256": digests["report"],
        "seconds": round(sum(e["seconds"] for e in evaluations), 1),
        "results": rows,
    }


def _results(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(f.read_text(encoding="utf-8")) for f in sorted((folder / "results").glob("*.json"))]


def _of_policy(evaluation: dict[str, Any], sha256: str) -> bool:
    return all(r["models"].get("policy", sha256) == sha256 for r in evaluation["results"])


def _champion(record: dict[str, Any]) -> tuple[str, dict[tuple[str, str | None], dict[str, Any]]] | None:
    """(run id, figures) of the champion, if it is another policy and was evaluated."""
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        version = mlflow.MlflowClient().get_model_version_by_alias(record["policy"]["name"], "champion")
    except MlflowException:
        return None
    for run in listing.runs():
        policy = run.get("policy")
        if policy and policy["version"] == str(version.version) and run["run_id"] != record["run_id"]:
            rows = [r for e in _results(folder_of(run["run_id"])) for r in e["results"]]
            return (run["run_id"], {(r["metric"], r["slice"]): r for r in rows}) if rows else None
    return None


def _tell_mlflow(record: dict[str, Any], rows: list[dict[str, Any]], folder: Path, decided: dict[str, Any]) -> None:
    """An MLflow run beside the stages': figures of the whole, tied to the policy, and the report."""
    import mlflow

    tags = {"attestrl.evaluation": decided["verdict"], "mlflow.parentRunId": record["mlflow_run_id"]}
    with mlflow.start_run(run_name="evaluation suite", tags=tags):
        whole = {r["metric"]: r["value"] for r in rows if r["slice"] is None}
        mlflow.log_metrics(whole, model_id=record["policy"]["model_id"])
        mlflow.log_artifact(str(folder / REPORT), "evaluation")
        mlflow.log_artifacts(str(folder / "results"), "evaluation/results")
