"""A copy of the project with few real pairs and little training, and a Prefect server, for benchmarks of whole runs."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.servers import is_healthy

ROOT = Path(__file__).resolve().parent.parent
PAIRS = 320
PYTHON = [sys.executable, "-m"]
SHRUNKEN = {
    "ingest.preferences": "data/raw/hh_rlhf/few.jsonl",
    "sft.max_length": 64,
    "reward.max_length": 64,
    "ppo.episodes": 16,
    "ppo.batch": 16,
    "ppo.minibatch": 16,
    "ppo.epochs": 1,
    "ppo.max_prompt_tokens": 32,
    "ppo.max_new_tokens": 4,
    "evaluate.samples_per_prompt": 1,
    "evaluate.max_new_tokens": 4,
    "evaluate.bootstrap": 200,
}
SETS = [part for key, value in SHRUNKEN.items() for part in ("--set", f"{key}={value}")]


def copied(folder: Path) -> Path:
    """The files that git has, in a repository of their own, with fewer pairs."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in filter(None, listed.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    (folder / "dvc.lock").unlink(missing_ok=True)
    pairs = (folder / "data/raw/hh_rlhf/pairs.jsonl").read_text(encoding="utf-8").splitlines()[:PAIRS]
    (folder / "data/raw/hh_rlhf/few.jsonl").write_text("\n".join(pairs) + "\n", encoding="utf-8")
    identity = ["-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost"]
    for command in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "x"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def environment(home: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ATTESTRL_", "MLFLOW_", "PREFECT_", "DVC_"))}
    return kept | {"PREFECT_HOME": str(home / "prefect"), "PREFECT_LOGGING_LEVEL": "WARNING", "DO_NOT_TRACK": "1"}


@contextmanager
def server(own: dict[str, str], home: Path) -> Iterator[tuple[str, int]]:
    """(URL, process id) of a Prefect server that runs already."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    command = [*PYTHON, "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(
        command, env=own | {"PREFECT_HOME": str(home / "server")}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        url = f"http://127.0.0.1:{port}/api"
        while not is_healthy(url):
            time.sleep(0.2)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait()
