"""Datasheets and model cards of a run, from what its stages reported."""

import json
from pathlib import Path

from flows import inventory, reward_data
from flows.dataset_facts import dataset_facts
from flows.model_facts import model_facts, notes
from flows.stages import Outcome
from governance.datasheet import datasheet, declared_beside, document
from governance.digest import read_json, write_atomic
from governance.model_card import model_card
from tasks import params, paths
from tasks.lineage import read_record

MODELS = {
    "base": ("base", paths.BASE),
    "sft": ("sft", paths.SFT),
    "reward": ("reward", paths.REWARD),
    "judge": ("reward", paths.JUDGE),
    "policy": ("ppo", paths.POLICY),
}


def write(folder: Path, outcomes: list[Outcome]) -> list[Path]:
    """Write the documents of every dataset and model that this run made or kept; gives their paths."""
    done = {o.name for o in outcomes if o.outcome in ("made", "cached")}
    if "ingest" not in done:
        return []
    settings = params.load(paths.PARAMS)
    datasets = [dataset_facts(name, settings, done) for name in read_record("ingest")["notes"]["tables"]]
    if settings.process.solutions and "reward" in done:
        datasets.append(reward_data.solutions(settings))
    if settings.oversight.pairs and "reward" in done:
        datasets.append(reward_data.oversight_pairs())
    models = [
        (model.as_posix(), model_facts(name, stage, model, settings, done))
        for name, (stage, model) in MODELS.items()
        if stage in done
    ]
    texts: dict[str, str] = {}
    for facts, declared in datasets:
        stem = f"datasheet-{facts.name.replace('/', '-')}"
        texts[f"{stem}.md"] = datasheet(facts, declared)
        texts[f"{stem}.json"] = json.dumps(document(facts, declared), indent=1, ensure_ascii=False) + "\n"
    texts |= {f"card-{m.kind}.md": model_card(m) for _, m in models}
    if shaped := notes(done):
        audit = read_json(paths.report("reward") / "principles.json") if "reward" in shaped else None
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
