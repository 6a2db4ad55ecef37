"""Functions in a process beside this one: what comes back, and that nothing of it stays."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from flows.beside import Caller, beside, here
from governance.errors import BadInput, MissingComponent
from tests.conftest import ROOT
from tests.servers import wait_until

LIBRARY = "wsgiref.handlers"  # that nothing here loads


@pytest.fixture
def caller() -> Iterator[Caller]:
    with beside(LIBRARY) as found:
        yield found


def loaded() -> tuple[int, bool]:
    return os.getpid(), LIBRARY in sys.modules


def fail(kind: type[Exception], said: str) -> None:
    raise kind(said)


def test_it_is_another_process_which_has_the_library(caller: Caller) -> None:
    process, has = caller(loaded)()
    assert (process != os.getpid(), has) == (True, True)
    assert LIBRARY not in sys.modules
    assert here(loaded)() == (os.getpid(), False)


def test_what_a_person_can_act_on_comes_back_as_it_was_and_the_rest_with_its_place(caller: Caller) -> None:
    with pytest.raises(BadInput, match=r"^params\.yaml: is wrong\.$"):
        caller(fail, BadInput, "params.yaml: is wrong.")()
    with pytest.raises(RuntimeError, match=r"KeyError: 'who'") as raised:
        caller(fail, KeyError, "who")()
    assert "in fail" in raised.value.__notes__[0]
    assert caller(abs, -1)() == 1


def test_an_answer_for_which_nobody_waited_is_not_taken_for_the_next(caller: Caller) -> None:
    """As after Ctrl-C, when a run is still told of."""
    caller(abs, -1)
    assert caller(abs, -2)() == 2


def test_of_a_killed_one_there_is_a_sentence(caller: Caller) -> None:
    process, _ = caller(loaded)()
    os.kill(process, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(process)], timeout=10)
    with pytest.raises(MissingComponent, match="is gone"):
        caller(abs, -1)()


def test_it_ends_with_the_block() -> None:
    with beside(LIBRARY) as caller:
        process, _ = caller(loaded)()
    assert not psutil.pid_exists(process)


def test_it_ends_with_a_killed_process(tmp_path: Path) -> None:
    told = tmp_path / "told"
    code = "import os, signal, sys\nfrom pathlib import Path\nfrom flows.beside import beside\n"
    code += "with beside('json') as caller:\n    Path(sys.argv[1]).write_text(str(caller(os.getpid)()))\n"
    code += "    os.kill(os.getpid(), signal.SIGKILL)\n"
    killed = subprocess.run([sys.executable, "-c", code, str(told)], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    process = int(told.read_text())
    wait_until(lambda: not psutil.pid_exists(process), told)
