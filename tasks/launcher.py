"""Several processes for one training: `num_processes` of params.yaml on each machine, and several machines.

The stage starts itself as often as is asked for, through torchrun's own launcher. Every process runs the stage; the first
writes what it leaves, the others only train (`tasks.stage.Follower`). accelerate reads from the environment that the
launcher sets which device each has, and how they talk. If one ends badly, the others are ended, too.

Machines differ in what only their environment can say: torchrun's own variables PET_NNODES (how many there are),
PET_NODE_RANK (which this is; 0 writes), PET_RDZV_ENDPOINT (HOST:PORT of machine 0) and PET_RDZV_ID (of the job). The same
stage is started on each, in a project folder that all of them see; they meet there and train as one.
"""

import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from governance.digest import read_json
from governance.errors import AttestError, BadInput, GateRefused, MissingComponent

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

MEETING_SECONDS = 600  # so long machines wait for each other
ERRORS: dict[int, type[AttestError]] = {e.exit_code: e for e in (GateRefused, BadInput, MissingComponent)}


def launched() -> bool:
    """Whether a launcher started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def rank() -> int:
    """Number of this process; 0 is the first, or the only one."""
    return int(os.environ.get("RANK", "0"))


@dataclass(frozen=True)
class Machines:
    """How many machines share a training, which of them this is, and where they meet."""

    count: int = 1
    index: int = 0
    endpoint: str = "localhost:0"
    job: str = ""

    @classmethod
    def of_environment(cls) -> "Machines":
        """As torchrun's variables say; without them this machine alone. Raises BadInput if they do not fit together."""
        said = {name: os.environ.get(f"PET_{name}", "") for name in ("NNODES", "NODE_RANK", "RDZV_ENDPOINT", "RDZV_ID")}
        count = _number("PET_NNODES", said["NNODES"] or "1", 1)
        if count == 1:
            return cls()
        index = _number("PET_NODE_RANK", said["NODE_RANK"] or "missing", 0)
        host, _, port = said["RDZV_ENDPOINT"].rpartition(":")
        if index >= count:
            raise BadInput(
                f"PET_NODE_RANK is {index}, and PET_NNODES={count} machines count from 0; give another rank."
            )
        if not host or not port.isdigit() or int(port) == 0:
            raise BadInput(
                f"PET_RDZV_ENDPOINT is {said['RDZV_ENDPOINT'] or 'missing'}; give HOST:PORT of machine 0, as all of the "
                f"{count} machines reach it."
            )
        return cls(count, index, said["RDZV_ENDPOINT"], said["RDZV_ID"])


def _number(name: str, text: str, least: int) -> int:
    if not text.isdigit() or int(text) < least:
        raise BadInput(f"{name} is {text}; give a whole number from {least} on.")
    return int(text)


def check_sharding(sharding: str, processes: int, machines: Machines) -> None:
    """Raises BadInput where models are to be divided between processes, and there is only one."""
    if sharding != "none" and processes * machines.count == 1:
        raise BadInput(
            f"params.yaml: sharding is {sharding}, which divides models between processes, and num_processes is 1; raise it, "
            "or set sharding to none."
        )


def left_alone(error: Exception) -> AttestError | None:
    """Our sentence for what torch raises in a process of a training of which another one is gone; None for any other error."""
    if not launched():
        return None
    from torch.distributed import DistError

    if not (isinstance(error, DistError) or (isinstance(error, RuntimeError) and "/gloo/" in str(error))):
        return None
    return MissingComponent(
        "another process of the training has ended, or cannot be reached; see what it said, there or on its machine, then run "
        "again to go on from the last checkpoint."
    )


def launch(stage: str, processes: int, machines: Machines) -> None:
    """Run `python -m tasks.<stage>` in so many processes on each machine, and wait for those of this one. Raises what the
    first that failed said."""
    from torch.distributed import DistError
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    with tempfile.TemporaryDirectory() as folder:
        receipt = Path(folder) / "receipt.json"
        before = os.environ.get("ATTESTRL_RECEIPT")
        os.environ["ATTESTRL_RECEIPT"] = str(receipt)
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
        settings = LaunchConfig(
            min_nodes=machines.count,
            max_nodes=machines.count,
            nproc_per_node=processes,
            run_id=f"attestrl-{stage}-{machines.job if machines.count > 1 else os.getpid()}",
            rdzv_backend="static" if machines.count > 1 else "c10d",
            rdzv_endpoint=machines.endpoint,
            rdzv_configs={"rank": machines.index, "timeout": MEETING_SECONDS},
            max_restarts=0,
            monitor_interval=0.5,
        )
        try:
            elastic_launch(settings, sys.executable)("-m", f"tasks.{stage}")
        except ChildFailedError as error:
            raise _said(stage, error, receipt) from None
        except DistError:
            raise MissingComponent(
                f"the {machines.count} machines were not all at {machines.endpoint} within {MEETING_SECONDS} s; start the stage on "
                "each of them, and then here again."
            ) from None
        finally:
            if before is None:
                del os.environ["ATTESTRL_RECEIPT"]
            else:
                os.environ["ATTESTRL_RECEIPT"] = before


def _said(stage: str, error: "ChildFailedError", receipt: Path) -> AttestError:
    """The error of the process that failed first."""
    first, failure = error.get_first_failure()
    if failure.exitcode < 0:
        return MissingComponent(
            f"process {first} of the training was ended by signal {-failure.exitcode} (killed, or out of memory), and the "
            "others with it; run again to go on from the last checkpoint."
        )
    told = read_json(receipt)
    if told.get("outcome") == "failed":
        return ERRORS.get(int(told["exit_code"]), MissingComponent)(str(told["message"]))
    return MissingComponent(f"process {first} of {stage} ended with status {failure.exitcode} and did not say why.")
