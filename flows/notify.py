"""Messages to people, through Prefect's notification blocks: a run that failed or was refused, a release that waits for a
decision, an alarm.

`notify.blocks` in params.yaml names blocks as Prefect does (`slack-webhook/team`, `custom-webhook/pager`,
`attestrl-email/leads`); they are kept, with their secrets, on the Prefect server. A message that cannot be sent is said on
standard error, and keeps nothing from going on.
"""

import sys
from collections.abc import Callable
from typing import Any

from governance.errors import BadInput, MissingComponent
from tasks import params, paths


def tell(subject: str, body: str) -> None:
    """Send to every block. The Prefect server must be known from the environment."""
    for name in params.load(paths.PARAMS).notify.blocks:
        try:
            block = _block(name)
            with block.raise_on_failure():
                block.notify(body, subject)
        except Exception as error:  # of whatever service
            print(f"attestrl: notify.blocks: {name}: could not be told: {_said(error)}", file=sys.stderr)


def _block(name: str) -> Any:
    from prefect.blocks.abstract import NotificationBlock
    from prefect.blocks.core import Block

    import flows.email_block  # noqa: F401  # Prefect finds the class of a block among those that are loaded

    block: Any = Block.load(name)
    if not isinstance(block, NotificationBlock):
        raise MissingComponent("is no notification block.")
    return block


def _said(error: Exception) -> str:
    text = getattr(error, "log", "") or str(error) or type(error).__name__
    return text.strip().splitlines()[-1]


def run_ended(record: dict[str, Any], server: Callable[[], Any]) -> None:
    """Tell of a run that failed or was refused, and of a release that waits now; `server` makes Prefect reachable."""
    run_id = record["run_id"]
    if record["status"] in ("failed", "refused"):
        reasons = record["gate"]["reasons"] if record["status"] == "refused" else []
        subject, lines = f"Run {run_id}: {record['status']}", [record["message"], *reasons]
    elif record["gate"]["verdict"] == "pass":
        subject, lines = f"Run {run_id} waits for a decision", ["Its policy passed the release gate."]
    else:
        return
    try:
        if not params.load(paths.PARAMS).notify.blocks:
            return
    except BadInput:  # what the run itself failed on, and said
        return
    try:
        with server():
            tell(subject, "\n".join([f"Project {record['project']}.", *lines, *record["next"]]))
    except Exception as error:  # Prefect may be what did not start
        print(f"attestrl: nobody could be told how run {run_id} ended: {_said(error)}", file=sys.stderr)
