"""Facts of a model for its card, from what the stages reported."""

from pathlib import Path
from typing import Any

from flows import reward_data
from flows.dataset_facts import simulated_people
from governance.datasheet import declared_beside
from governance.digest import read_json
from governance.model_card import ModelFacts
from tasks import params, paths
from tasks.lineage import read_record
from tasks.training_params import Direct

USES = {
    "base": "Starting point of the fine-tuning in this project.",
    "sft": "Starting point and reference of {method}.",
    "reward": "{reward} in this project; a score means something only beside another one on the same prompt.",
    "judge": "Comparing models in the evaluation; it never trains a policy.",
    "policy": "Research on alignment, after approval; not for decisions about people.",
}
STEPS = ("process/", "outcome/", "best_of_n/")  # what names of figures on process and outcome models begin with
SIMULATED_MISTAKES = (
    "Process and outcome models learnt, among others, from solutions with simulated mistakes of a program, one each."
)


def model_facts(name: str, stage: str, folder: Path, settings: params.Params, done: set[str]) -> ModelFacts:
    """Facts of the model in `folder`, which `stage` made, in a run whose stages `done` were made or kept."""
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
        section |= read_json(Path(settings.base.model) / "pretrain.json").get("config", {})
    panel = settings.ingest.votes is None and settings.ingest.panel is not None
    return ModelFacts(
        name=f"{settings.project}-{name}",
        kind=name,
        sha256=record["outputs"][folder.as_posix()],
        base_sha256=read_json(folder / "lineage.json").get("base_sha256"),
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
    found = [simulated_people(panel=panel and trained, labels=trained)]
    if _by_steps(name, settings) and settings.process.simulated:
        found.append(SIMULATED_MISTAKES)
    return " ".join(filter(None, found)) or None


def _by_steps(name: str, settings: params.Params) -> bool:
    """Whether solutions with labelled steps decide a model: the reward model holds those of steps and outcomes."""
    rewarded = settings.method == "ppo" and settings.ppo.step_rewards > 0
    return settings.process.solutions > 0 and (name == "reward" or (name == "policy" and rewarded))


def notes(done: set[str]) -> dict[str, dict[str, Any]]:
    """What the stages say of the principles that shaped what they trained on."""
    found = {stage: read_record(stage)["notes"].get("principles") for stage in ("sft", "reward") if stage in done}
    return {stage: note for stage, note in found.items() if note}


def _principles(name: str, done: set[str]) -> list[dict[str, Any]]:
    """Those that shaped a model, with the rows that each did: SFT by revisions, what comes of SFT by these as well, and reward
    model and policy by pairs."""
    kinds = {"sft": ("sft",), "judge": ("sft",), "reward": ("sft", "reward"), "policy": ("sft", "reward")}.get(name, ())
    found: dict[str, dict[str, Any]] = {}
    for stage, note in notes(done).items():
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
    rows = read_json(paths.report("reward") / "metrics.json").get("metrics", []) if name in ("reward", "judge") else []
    if name in ("policy", "sft") and "evaluate" in done:
        rows = read_json(paths.report("evaluate") / "metrics.json").get("metrics", [])
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
