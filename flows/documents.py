"""Datasheets and model cards of a run, from what its stages reported."""

import json
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

from flows import inventory, reward_data, rounds
from flows.stages import Outcome
from governance import disclosure
from governance.datasheet import DatasetFacts, Declared, datasheet, declared_beside, document
from governance.digest import sha256_path, write_atomic, write_json
from governance.model_card import ModelFacts, model_card
from tasks import annotator_export, params, paths
from tasks.lineage import read_record
from tasks.training_params import Direct

MODELS = {
    "base": ("base", paths.BASE),
    "sft": ("sft", paths.SFT),
    "reward": ("reward", paths.REWARD),
    "judge": ("reward", paths.JUDGE),
    "policy": ("ppo", paths.POLICY),
}
USES = {
    "base": "Starting point of the fine-tuning in this project.",
    "sft": "Starting point and reference of {method}.",
    "reward": "{reward} in this project; a score means something only beside another one on the same prompt.",
    "judge": "Comparing models in the evaluation; it never trains a policy.",
    "policy": "Research on alignment, after approval; not for decisions about people.",
}
SIMULATED_VOTES = "The annotators and their votes are simulated: the pairs carry no annotator identities."
SIMULATED_LABELS = (
    "The labels on the policy's own answers are simulated: raters of a declared panel say what the judge prefers."
)

STEPS = ("process/", "outcome/", "best_of_n/")  # what names of figures on process and outcome models begin with
SIMULATED_MISTAKES = (
    "Process and outcome models learnt, among others, from solutions with simulated mistakes of a program, one each."
)


def write(folder: Path, outcomes: list[Outcome]) -> list[Path]:
    """Write the documents of every dataset and model that this run made or kept; gives their paths."""
    done = {o.name for o in outcomes if o.outcome in ("made", "cached")}
    if "ingest" not in done:
        return []
    settings = params.load(paths.PARAMS)
    datasets = [_dataset(name, settings, done) for name in read_record("ingest")["notes"]["tables"]]
    if settings.process.solutions and "reward" in done:
        datasets.append(reward_data.solutions(settings))
    if settings.oversight.pairs and "reward" in done:
        datasets.append(reward_data.oversight_pairs())
    models = [
        (model.as_posix(), _model_facts(name, stage, model, settings, done))
        for name, (stage, model) in MODELS.items()
        if stage in done
    ]
    texts: dict[str, str] = {}
    for facts, declared in datasets:
        stem = f"datasheet-{facts.name.replace('/', '-')}"
        texts[f"{stem}.md"] = datasheet(facts, declared)
        texts[f"{stem}.json"] = json.dumps(document(facts, declared), indent=1, ensure_ascii=False) + "\n"
    texts |= {f"card-{m.kind}.md": model_card(m) for _, m in models}
    if shaped := _notes(done):
        audit = _json(paths.report("reward") / "principles.json") if "reward" in shaped else None
        texts["principles.json"] = json.dumps(shaped | {"audit": audit}, indent=1, ensure_ascii=False) + "\n"
    if judged := reward_data.oversight(done):
        texts["oversight.json"] = json.dumps(judged, indent=1, ensure_ascii=False) + "\n"
    texts |= inventory.texts(folder.name, datasets, models, outcomes, settings)
    for name, text in texts.items():
        write_atomic(folder / name, text)
    return [folder / name for name in texts]


def check_declared(settings: params.Params) -> None:
    """Raises BadInput if a `datasheet.yaml` beside the data is not as it should be."""
    audits = [file for audit in settings.ingest.audits.values() for file in (audit.votes, audit.golden)]
    given = settings.ingest
    declared_beside(Path(settings.base.model))
    for file in (given.preferences, given.demonstrations, given.votes, given.golden, *audits):
        if file and Path(file).exists():
            declared_beside(Path(file).parent)


def _dataset(name: str, settings: params.Params, done: set[str]) -> tuple[DatasetFacts, Declared]:
    record = read_record("ingest")
    table = record["notes"]["tables"][name]
    path = Path(table["path"])
    source = str(table["source"] or (settings.ingest.preferences if name == "demonstrations" else ""))
    given = source and Path(source).exists()
    nulls, timeframe, per_item = _measured(path)
    facts = DatasetFacts(
        name=name,
        path=path.as_posix(),
        sha256=sha256_path(path),
        rows=table["rows"],
        content_sha256=table["content_sha256"],
        columns=table["columns"],
        nulls=nulls,
        sides=_json(paths.report("ingest") / "summary.json")["sides"] if name == "preferences" else {},
        pii=_json(paths.report("validate") / "pii.json").get(name) if "validate" in done else None,
        quarantined=_quarantined(name, done),
        failed_checks=_failed_checks(name) if "validate" in done else None,
        raw={source: record["inputs"][source]} if source in record["inputs"] else None,
        timeframe=timeframe,
        annotators=_annotators(name, done),
        demographics=_demographics(path) if name == "votes" else None,
        simulated=_simulated_people(panel=source == "simulated panel", labels=name in ("preferences", "votes")),
        used_for=_used_for(name),
        per_item=per_item,
        left_out=table["left_out"],
        software=f"Yes: the stages of this project, git commit {record['git_commit']}.",
    )
    return facts, declared_beside(Path(source).parent) if given else Declared({})


def _simulated_people(*, panel: bool, labels: bool) -> str | None:
    """Who is simulated of those who voted on pairs, and of those who labelled the policy's answers."""
    found = [SIMULATED_VOTES] if panel else []
    found += [SIMULATED_LABELS] if labels and rounds.simulated() else []
    return " ".join(found) or None


def _measured(path: Path) -> tuple[dict[str, int], tuple[str, str] | None, str | None]:
    """Rows without a value by column, the first and last time that a row names, and how many annotations items have."""
    import polars as pl

    table = pl.read_parquet(path)
    nulls = {name: n for name, n in zip(table.columns, table.null_count().row(0), strict=True) if n}
    times = table["created_at"].drop_nulls() if "created_at" in table.columns else pl.Series([], dtype=pl.String)
    per_item = None
    if table.height and {"item_id", "annotator_id"} <= set(table.columns):
        n = sorted(table.group_by("item_id").len()["len"].to_list())
        per_item = f"{len(n)} items, with {n[0]} to {n[-1]} annotations each, {median(n):g} at the median."
    return nulls, (str(times.min()), str(times.max())) if len(times) else None, per_item


def _failed_checks(name: str) -> dict[str, int]:
    rules = _json(paths.report("validate") / "checks.json")["checks"].get(name, {})
    return {rule: counts["failed"] for rule, counts in rules.items() if counts["failed"]}


def _used_for(name: str) -> str:
    return {
        "preferences": "reward model, judge, prompts of PPO and of the evaluation",
        "demonstrations": "supervised fine-tuning, with chosen answers of preference pairs unless others are given",
        "votes": "weights of preference pairs, annotator checks",
        "golden": "audit of annotators",
    }.get(name, "annotator checks only; nothing is trained on it")


def _quarantined(name: str, done: set[str]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for stage, file in (("validate", "quarantine.jsonl"), ("curate", "set_aside.jsonl")):
        if stage not in done or (stage == "curate" and name != "preferences"):
            continue
        for line in (paths.report(stage) / file).read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if row.get("table", name) == name:
                counts[row["reason"]] += 1
    return dict(counts)


def _annotators(name: str, done: set[str]) -> str | None:
    if "annotators" not in done or Path(name).name != "votes":
        return None
    folder = paths.report("annotators") / Path(name).parent
    found = _json(folder / "summary.json")
    return str(annotator_export.exported(found)["summary"]) if found else None


def _demographics(votes: Path) -> dict[str, list[dict[str, Any]]] | None:
    """Annotators of a table by attribute and group, for export. What was published is kept apart, in the state folder:
    the next table is compared with it."""
    import polars as pl

    from tasks.demographics import group_sizes

    people = pl.read_parquet(paths.PEOPLE)
    if not people.height:
        return None
    file = paths.home() / "privacy" / "demographics.json"
    before = _json(file)
    sizes = group_sizes(pl.read_parquet(votes, columns=["annotator_id"])["annotator_id"], people)
    now = {attribute: disclosure.published(counts, before.get(attribute)) for attribute, counts in sizes.items()}
    write_json(file, now)
    file.chmod(0o600)
    return {attribute: table["rows"] for attribute, table in now.items()}


def _model_facts(name: str, stage: str, folder: Path, settings: params.Params, done: set[str]) -> ModelFacts:
    record = read_record(stage)
    section = settings.model_dump(mode="json").get(settings.section_of(stage), {})
    if stage == "ppo":
        section = {"method": settings.method} | section
    if "bf16" in record["notes"]:
        section |= {"bf16": record["notes"]["bf16"]}  # params.yaml may leave it to the device
    if stage in ("sft", "reward", "ppo"):
        section |= {f"lora.{k}": v for k, v in settings.lora.model_dump().items()}
    if stage in ("reward", "ppo") and (settings.reward.criteria or settings.stakeholders.distribution):
        section |= {f"stakeholders.{k}": v for k, v in settings.stakeholders.model_dump().items() if v is not None}
    if _by_steps(name, settings):
        section |= {f"process.{k}": v for k, v in settings.process.model_dump().items()}
    if name == "base":
        section |= _json(Path(settings.base.model) / "pretrain.json").get("config", {})
    panel = settings.ingest.votes is None and settings.ingest.panel is not None
    return ModelFacts(
        name=f"{settings.project}-{name}",
        kind=name,
        sha256=record["outputs"][folder.as_posix()],
        base_sha256=_json(folder / "lineage.json").get("base_sha256"),
        mlflow_run_id=record["mlflow_run_id"],
        git_commit=record["git_commit"],
        seed=record["seed"],
        inputs=record["inputs"],
        parameters=section,
        metrics=_figures(name, record, done),
        intended_use=USES[name].format(method=settings.method.upper(), reward=_reward_of(settings)),
        base=settings.base.model,
        base_licence=declared_beside(Path(settings.base.model)).answers.get("DIST-04", (None,))[0],
        seconds=record["seconds"],
        cpu_seconds=record.get("cpu_seconds"),
        watts_per_core=settings.evidence.watts_per_core,
        limits=_limits(name),
        principles=_principles(name, done),
        oversight=reward_data.oversight_of(name, done),
        simulated=_simulated(name, settings, panel=panel),
    )


def _simulated(name: str, settings: params.Params, *, panel: bool) -> str | None:
    """What is simulated in a model's training."""
    trained = name in ("reward", "policy")
    found = [_simulated_people(panel=panel and trained, labels=trained)]
    if _by_steps(name, settings) and settings.process.simulated:
        found.append(SIMULATED_MISTAKES)
    return " ".join(filter(None, found)) or None


def _by_steps(name: str, settings: params.Params) -> bool:
    """Whether solutions with labelled steps decide a model: the reward model holds those of steps and outcomes."""
    rewarded = settings.method == "ppo" and settings.ppo.step_rewards > 0
    return settings.process.solutions > 0 and (name == "reward" or (name == "policy" and rewarded))


def _notes(done: set[str]) -> dict[str, dict[str, Any]]:
    """What the stages say of the principles that shaped what they trained on."""
    notes = {stage: read_record(stage)["notes"].get("principles") for stage in ("sft", "reward") if stage in done}
    return {stage: note for stage, note in notes.items() if note}


def _principles(name: str, done: set[str]) -> list[dict[str, Any]]:
    """Those that shaped a model, with the rows that each did: SFT by revisions, what comes of SFT by these as well, and reward
    model and policy by pairs."""
    kinds = {"sft": ("sft",), "judge": ("sft",), "reward": ("sft", "reward"), "policy": ("sft", "reward")}.get(name, ())
    found: dict[str, dict[str, Any]] = {}
    for stage, note in _notes(done).items():
        for p in note["principles"] if stage in kinds else ():
            row = found.setdefault(p["id"], {**p, "revisions": 0, "pairs": 0})
            row["revisions" if stage == "sft" else "pairs"] = p["rows"]
    return list(found.values())


def _reward_of(settings: params.Params) -> str:
    name = settings.method.upper()
    on_pairs = isinstance(getattr(settings, settings.method), Direct)
    return f"Watching {name}, which learns from the same pairs," if on_pairs else f"Reward of {name}"


def _figures(name: str, record: dict[str, Any], done: set[str]) -> list[dict[str, Any]]:
    """Figures with intervals where an evaluation gave them, else those of the stage's record."""
    words = {
        "reward": (
            "accuracy/test",
            "rewards/",
            "calibration/",
            "length/correlation",
            "principles/",
            "oversight/",
            "distribution/",
            *STEPS,
        ),
        "judge": ("accuracy/judge",),
        "policy": ("policy",),
        "sft": ("sft",),
    }
    rows = _json(paths.report("reward") / "metrics.json").get("metrics", []) if name in ("reward", "judge") else []
    if name in ("policy", "sft") and "evaluate" in done:
        rows = _json(paths.report("evaluate") / "metrics.json").get("metrics", [])
    chosen = [r for r in rows if any(w in r["name"] for w in words.get(name, ())) and r["value"] is not None]
    plain = [
        {"name": k, "value": v, "low": None, "high": None, "n": None, "slice": None}
        for k, v in record["metrics"].items()
    ]
    return chosen or plain


def _limits(name: str) -> str:
    common = "Measured only on what is listed above, in English, on conversations about harm."
    gamed = " Its scores can be gamed: length, tone and other surface features move them."
    return common + (gamed if name in ("reward", "judge", "policy") else "")


def _json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return content
