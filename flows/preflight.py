"""What can be told to be wrong before anything starts: inputs that are not there, a base that is no model folder, data that
may not be kept any more."""

from datetime import UTC, datetime
from pathlib import Path

from flows import removal
from governance import retention
from tasks import base, launcher, params, reading


def check(settings: params.Params) -> None:
    """Raises BadInput for the first input or setting that cannot be what params.yaml says, GateRefused for data whose time
    is over, and while a removal of data is half done."""
    removal.check_finished()
    launcher.check_sharding(settings.sharding, settings.num_processes, launcher.Machines.of_environment())
    here = []
    for source in settings.ingest.sources():
        if Path(source).exists():
            here.append(Path(source))
        else:
            reading.hub_name(source)
    retention.refuse_expired(here, datetime.now(UTC).date())
    base.check_named(settings.base.model)
