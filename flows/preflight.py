"""What can be told to be wrong before anything starts: inputs that are not there, a base that is no model folder, data that
may not be kept any more."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from flows import removal, stages
from governance import retention
from governance.errors import BadInput, MissingComponent
from tasks import base, context_length, launcher, lineage, params, reading


def check(settings: params.Params) -> None:
    """Raises BadInput for the first input or setting that cannot be what params.yaml says, GateRefused for data whose time
    is over, and while a removal of data is half done."""
    removal.check_finished()
    stages.declared_stages()
    launcher.check_sharding(settings.sharding, settings.num_processes, launcher.Machines.of_environment())
    here = []
    for source in settings.ingest.sources():
        if Path(source).exists():
            here.append(Path(source))
        else:
            reading.hub_name(source)
    retention.refuse_expired(here, datetime.now(UTC).date())
    base.check_named(settings.base.model)
    context_length.check_context(settings, Path(settings.base.model))
    if settings.by_principles:
        from tasks import principles

        principles.read_principles(settings.principles)
    elif not Path(settings.principles.file).is_file():  # DVC looks for it all the same
        raise BadInput(f"principles.file: {settings.principles.file}: there is no such file; correct the name.")
    for key in ("traces", "problems"):  # whether they are read or not
        source = getattr(settings.process, key)
        if not Path(source).exists():
            raise BadInput(f"process.{key}: {source}: there is no such file; correct the name.")
    for key in ("problems", "deductions"):
        source = getattr(settings.oversight, key)
        if not Path(source).is_file():
            raise BadInput(f"oversight.{key}: {source}: there is no such file; correct the name.")


def check_store(made: Sequence[str]) -> None:
    """Raises MissingComponent if MLflow's store does not have the runs that made the outputs of these stages: what is
    registered would point at nothing."""
    unknown = lineage.unknown_stages(made)
    if unknown:
        names = " ".join(unknown)
        raise MissingComponent(
            f"the MLflow store does not have the runs that made the outputs of {', '.join(unknown)}: it was deleted, or is "
            "another one; bring it back (`attestrl restore`, `attestrl migrate`), or make them again with "
            f"`dvc repro --single-item --force {names}`, then run again."
        )
