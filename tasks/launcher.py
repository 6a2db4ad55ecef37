"""Several processes for one training: `num_processes` of params.yaml on one machine, torchrun around the stage on more.

The stage starts itself as often as is asked for, through torchrun's own launcher. Every process runs the stage; the first
writes what it leaves, the others only train (`tasks.stage.Follower`). accelerate reads from the environment that the
launcher sets which device each has, and how they talk. If one ends badly, the others are ended, too.
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from governance.errors import AttestError, BadInput, GateRefused, MissingComponent

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

ERRORS: dict[int, type[AttestError]] = {e.exit_code: e for e in (GateRefused, BadInput, MissingComponent)}


def launched() -> bool:
    """Whether a launcher started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def rank() -> int:
    """Number of this process; 0 is the first, or the only one."""
    return int(os.environ.get("RANK", "0"))


def launch(stage: str, processes: int) -> None:
    """Run `python -m tasks.<stage>` in so many processes on this machine, and wait for them. Raises what the first that
    failed said."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    with tempfile.TemporaryDirectory() as folder:
        receipt = Path(folder) / "receipt.json"
        before = os.environ.get("ATTESTRL_RECEIPT")
        os.environ["ATTESTRL_RECEIPT"] = str(receipt)
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
        settings = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=processes,
            run_id=f"attestrl-{stage}-{os.getpid()}",
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            max_restarts=0,
            monitor_interval=0.5,
        )
        try:
            elastic_launch(settings, sys.executable)("-m", f"tasks.{stage}")
        except ChildFailedError as error:
            raise _said(stage, error, receipt) from None
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
    told = json.loads(receipt.read_text(encoding="utf-8")) if receipt.is_file() else {}
    if told.get("outcome") == "failed":
        return ERRORS.get(int(told["exit_code"]), MissingComponent)(str(told["message"]))
    return MissingComponent(f"process {first} of {stage} ended with status {failure.exitcode} and did not say why.")
