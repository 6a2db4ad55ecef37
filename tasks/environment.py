"""Environment of every process of the project: no telemetry, no unpickling, state in the project's own folder."""

import os
import sys
from pathlib import Path

from tasks import outages, paths

DEFAULTS = {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # standard output is for what the user asked for
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "PYTHONHASHSEED": "0",
    # A Prefect server that is being restarted is waited for, by its own client, for four minutes, as MLflow's client does
    # with its server; 500 is what it answers while its database is away.
    "PREFECT_CLIENT_MAX_RETRIES": "7",
    "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_INTERNAL_LEVEL": "ERROR",
    # The in-process server needs 10 to 14 s on two busy cores; Prefect gives up after 20 s by default.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
}


def prepare() -> None:
    """Set what is not set yet. `python` means this interpreter, also for the commands that DVC starts."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    os.environ["ATTESTRL_HOME"] = str(paths.home())
    os.environ.setdefault("PREFECT_HOME", str(paths.home() / "prefect"))
    if not os.access(Path("~").expanduser(), os.W_OK):  # or every process would make its own list of fonts
        os.environ.setdefault("MPLCONFIGDIR", str(paths.home() / "matplotlib"))
    outages.announce_mlflow()
    scripts = str(Path(sys.executable).parent)
    if os.environ.get("PATH", "").split(os.pathsep)[0] != scripts:
        os.environ["PATH"] = scripts + os.pathsep + os.environ.get("PATH", "")
