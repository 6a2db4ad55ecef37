"""Signs the models of a run, with the key that signs the audit log's checkpoints."""

import sys
from pathlib import Path

from flows import documents, sealing
from flows.stages import Outcome
from governance import model_signature
from governance.digest import write_atomic
from governance.errors import AttestError
from governance.records import run_folders
from tasks import paths


def sign(folder: Path, outcomes: list[Outcome], actor: str) -> list[Path]:
    """Sign every model that the run made or kept; gives the signatures, in the run's folder. What the run before signed with the
    same key, and is the same, keeps its signature: no model is read for it. What keeps it from being done is said: the run's
    evidence then has a gap, and no wrong signature."""
    done = {o.name for o in outcomes if o.outcome in ("made", "cached")}
    digests = {output["path"]: output["sha256"] for o in outcomes for output in o.outputs}
    models = {name: model for name, (stage, model) in documents.MODELS.items() if stage in done and model.is_dir()}
    made: list[Path] = []
    if not models:
        return made
    try:
        key = sealing.signing_key(actor)
        last = next(
            reversed(run_folders(paths.home())), folder
        )  # this one, where there was none: it has no signatures yet
        for name, model in models.items():
            to, before = (run / model_signature.FOLDER / f"{name}.sig" for run in (folder, last))
            if model_signature.holds(before, digests[model.as_posix()], key.public_key()):
                write_atomic(to, before.read_bytes())
            else:
                model_signature.sign(model, key, to)
            made.append(to)
    except AttestError as error:
        print(f"attestrl: models are not signed: {error}", file=sys.stderr)
    return made


def check(folder: Path, models: dict[str, Path]) -> None:
    """Verify bytes by model's name against the signatures of the run in `folder`, where it has them. Raises GateRefused."""
    keys = sealing.notary().verify().keys.values()
    for name, model in models.items():
        if (signature := folder / model_signature.FOLDER / f"{name}.sig").is_file():
            model_signature.check(model, signature, keys)
