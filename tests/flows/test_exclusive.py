"""Who may work in a project at a moment, and who is next."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows import exclusive
from tests.conftest import ROOT

WAIT = (
    "import sys, time\n"
    "from flows import exclusive\n"
    "with exclusive.alone('', patient=True):\n"
    "    print(sys.argv[1], file=open('turns', 'a'), flush=True)\n"
    "    time.sleep(0.2)\n"
)


def test_turns_are_in_the_order_of_arrival_and_a_killed_one_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / ".attestrl"
    monkeypatch.setenv("ATTESTRL_HOME", str(home))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    waiting: list[subprocess.Popen[bytes]] = []
    with exclusive.alone("it is free"):
        for number in range(4):
            waiting.append(subprocess.Popen([sys.executable, "-c", WAIT, str(number)], cwd=tmp_path, env=environment))
            deadline = time.monotonic() + 30
            while len(list(home.glob("waiting/*.lock"))) <= number:
                assert time.monotonic() < deadline
                time.sleep(0.02)
        waiting[1].kill()
        with pytest.raises(exclusive.Busy, match="one is under way"), exclusive.alone("one is under way"):
            pass
    assert [w.wait(timeout=30) for w in waiting] == [0, -9, 0, 0]
    assert (tmp_path / "turns").read_text().split() == ["0", "2", "3"]
    assert not list(home.glob("waiting/*"))
