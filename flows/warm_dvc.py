"""DVC's commands and the stages that they start, with their libraries loaded: `python -m flows.warm_dvc`, for
`flows.dvc_calls`.

DVC starts each stage as a program, and Python takes five to ten seconds of a core to load what DVC and the stage stand on
before either does anything. Where a run makes several stages, one process loads these libraries once, before the first
stage or, where that is the one that reads the data, beside the second. DVC's command for each further stage is a fork of
it, and so is, inside that, the stage. Of this project the process loads nothing: a stage has the code that is on the disk
when it begins.

Beside an accelerator, whose driver does not survive a fork, it ends at once.
"""

import atexit
import contextlib
import gc
import importlib
import json
import multiprocessing
import os
import runpy
import shlex
import signal
import sys
import threading
from collections.abc import Callable
from typing import IO, Any

LIBRARIES = (
    "diskcache", "dvc.cli.parser", "dvc.dependency", "dvc.lock", "dvc.parsing", "dvc.repo.index", "dvc.repo.reproduce",
    "dvc.stage.run", "dvc_data.hashfile", "dvc_data.index", "git", "ruamel.yaml", "scmrepo.git",
    "mlflow.data", "mlflow.store.model_registry.sqlalchemy_store", "mlflow.store.tracking.sqlalchemy_store", "mlflow.tracing",
    "opentelemetry.sdk.trace", "sqlalchemy.dialects.sqlite",
    "sklearn.feature_extraction.text", "sklearn.linear_model", "scipy.stats", "matplotlib.pyplot",
    "torch", "transformers.trainer", "accelerate", "peft", "datasets", "trl.trainer.sft_trainer",
)  # fmt: skip
READY = "ready"


def main() -> None:
    """Load, say so, and do one order after another until nobody gives any more."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what DVC and stages print is for people
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # meant for what runs
    _named("-m", "flows.warm_dvc", *sys.argv[1:])  # finds the place of its words while nothing has moved it
    import torch

    if torch.accelerator.is_available():  # asked first, for somebody may wait
        return
    gc.disable()  # what is loaded stays: looking through it for garbage, here and in every fork, finds none
    for name in LIBRARIES:
        importlib.import_module(name)
    gc.freeze()
    _serve(sys.stdin, answers)


def _serve(orders: IO[str], answers: IO[str]) -> None:
    with contextlib.suppress(BrokenPipeError):  # whoever gave them was killed
        answers.write(READY + "\n")
        for line in orders:
            order = json.loads(line)
            answers.write(f"{_forked(_dvc, order['arguments'], order['environment'])}\n")


def _forked(work: Callable[..., None], *arguments: Any) -> int:
    """Do it in a fork; its exit code."""
    process = multiprocessing.get_context("fork").Process(target=_begin, args=(work, arguments))
    process.start()
    process.join()
    code = process.exitcode
    process.close()
    return 1 if code is None else code


def _begin(work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    gc.enable()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    atexit._clear()  # what the process is to do at its own end
    try:
        work(*arguments)
    finally:
        atexit._run_exitfuncs()  # as at the end of a program, which a fork is not


def _named(*words: str) -> None:
    """What `ps` and whoever looks for a process of DVC's see."""
    from setproctitle import setproctitle

    setproctitle(shlex.join((sys.executable, *words)))


def _dvc(arguments: list[str], environment: dict[str, str]) -> None:
    """`python -m dvc ARGUMENTS`, whose stages are forks, too."""
    import dvc.stage.run
    from dvc.cli import main as dvc_main
    from tqdm import tqdm

    os.environ.clear()
    os.environ.update(environment)
    _named("-m", "dvc", *arguments)
    as_program = dvc.stage.run._run
    usual, tqdm.monitor_interval = tqdm.monitor_interval, 0  # no thread that watches bars: a fork would lack it

    def run(executable: str | None, command: str, **how: Any) -> None:
        words = shlex.split(command)
        if len(words) != 3 or words[:2] != ["python", "-m"] or threading.active_count() > 1:
            as_program(executable, command, **how)
            return
        tqdm.monitor_interval = usual
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            code = _forked(_module, words[2], how["cwd"], how["env"])
        finally:
            signal.signal(signal.SIGINT, before)
        if code:
            raise dvc.stage.run.StageCmdFailedError(command, code)

    dvc.stage.run._run = run
    sys.exit(dvc_main(arguments))


def _module(name: str, folder: str, environment: dict[str, str]) -> None:
    """`python -m NAME` in a folder."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    _named("-m", name)
    runpy.run_module(name, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
