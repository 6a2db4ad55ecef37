"""Where a stage runs: in the process of the run, or on a worker of a Prefect work pool, as `placement` in params.yaml says.

Whatever holds GPUs takes as many slots of the limit `attestrl-gpu` as it needs for as long as it runs, here or elsewhere,
in this run or in another on the same Prefect server: two trainings never share a GPU. The slots are leased and renewed,
so that a run that was killed gives them back.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from flows import stages
from flows.dvc_calls import Call
from flows.stages import Outcome
from governance.errors import AttestError
from tasks import operating_params, params, paths

LIMIT = "attestrl-gpu"
LEASE_SECONDS = 60  # the shortest that Prefect grants


def run_stage(name: str, parent_run: str, call: Call) -> Outcome:
    """Bring one stage up to date, where it belongs, and say how that went; `call` runs DVC here."""
    settings = params.load(paths.PARAMS).placement
    need = settings.stages.get(name, operating_params.Need())
    with _slots(need, settings.gpus):
        if need.pool is None:
            return stages.run_stage(name, parent_run, call)
        from flows import elsewhere

        try:
            return elsewhere.run_stage(name, parent_run, need, settings)
        except AttestError as error:
            return Outcome(name, "failed", message=str(error), exit_code=error.exit_code)


@contextmanager
def _slots(need: operating_params.Need, gpus: int) -> Iterator[None]:
    """Hold the GPUs that a stage needs."""
    if need.device != "gpu":
        yield
        return
    from prefect import get_client
    from prefect.concurrency.sync import concurrency
    from prefect.exceptions import ObjectAlreadyExists

    # Prefect looks for the limit and then makes it, in two requests: another run may have made it in between
    with get_client(sync_client=True) as client, suppress(ObjectAlreadyExists):
        client.upsert_global_concurrency_limit_by_name(LIMIT, gpus)
    with concurrency(LIMIT, occupy=need.number, strict=True, lease_duration=LEASE_SECONDS):
        yield
