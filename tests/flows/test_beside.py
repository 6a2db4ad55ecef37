"""Functions in a process beside this one: what comes back, and that nothing of it stays.

Each test works in a new process: this one has threads of other tests, beside which no fork is made.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import psutil
import pytest

from flows.beside import beside, here
from governance.errors import BadInput, MissingComponent
from tests.conftest import ROOT
from tests.servers import wait_until

LIBRARY = "wsgiref.handlers"  # that nothing here loads


def loaded() -> tuple[int, bool]:
    return os.getpid(), LIBRARY in sys.modules


def fail(kind: type[Exception], said: str) -> None:
    raise kind(said)


def it_is_another_process_which_has_the_library() -> None:
    with beside(LIBRARY) as caller:
        process, has = caller(loaded)()
    assert (process != os.getpid(), has) == (True, True)
    assert here(loaded)() == (os.getpid(), False)
    assert not psutil.pid_exists(process), "it has not ended with the block"


def what_a_person_can_act_on_comes_back_as_it_was_and_the_rest_with_its_place() -> None:
    with beside(LIBRARY) as caller:
        with pytest.raises(BadInput, match=r"^params\.yaml: is wrong\.$"):
            caller(fail, BadInput, "params.yaml: is wrong.")()
        with pytest.raises(RuntimeError, match=r"KeyError: 'who'") as raised:
            caller(fail, KeyError, "who")()
        assert "in fail" in raised.value.__notes__[0]
        assert caller(abs, -1)() == 1


def an_answer_for_which_nobody_waited_is_not_taken_for_the_next() -> None:
    """As after Ctrl-C, when a run is still told of."""
    with beside(LIBRARY) as caller:
        caller(abs, -1)
        assert caller(abs, -2)() == 2


def of_a_killed_one_there_is_a_sentence() -> None:
    with beside(LIBRARY) as caller:
        process, _ = caller(loaded)()
        assert process != os.getpid()
        os.kill(process, signal.SIGKILL)
        with pytest.raises(MissingComponent, match="is gone"):
            caller(abs, -1)()


def beside_threads_none_is_made() -> None:
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait)
    thread.start()
    with beside(LIBRARY) as caller:
        process, _ = caller(loaded)()
    ended.set()
    thread.join()
    assert process == os.getpid()


@pytest.mark.parametrize(
    "body",
    [
        it_is_another_process_which_has_the_library,
        what_a_person_can_act_on_comes_back_as_it_was_and_the_rest_with_its_place,
        an_answer_for_which_nobody_waited_is_not_taken_for_the_next,
        of_a_killed_one_there_is_a_sentence,
        beside_threads_none_is_made,
    ],
    ids=lambda body: body.__name__,
)
def test_beside(body: Callable[[], None]) -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as apart:
        apart.submit(body).result(timeout=120)


def test_it_ends_with_a_killed_process(tmp_path: Path) -> None:
    told = tmp_path / "told"
    code = "import os, signal, sys\nfrom pathlib import Path\nfrom flows.beside import beside\n"
    code += "with beside('json') as caller:\n    Path(sys.argv[1]).write_text(str(caller(os.getpid)()))\n"
    code += "    os.kill(os.getpid(), signal.SIGKILL)\n"
    killed = subprocess.run([sys.executable, "-c", code, str(told)], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    process = int(told.read_text())
    wait_until(lambda: not psutil.pid_exists(process), told)
