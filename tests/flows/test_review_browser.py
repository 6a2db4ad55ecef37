"""The review page in headless Chromium: a person answers with the keyboard alone, and the server is killed between."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flows.review import queue
from tests.conftest import ROOT
from tests.flows.browser import CHROMIUM, chromium, wait
from tests.flows.test_review import pair, single

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no chromium on this machine")


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts the server of the page; always on one port, with one token."""
    monkeypatch.setenv("ATTESTRL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("REVIEW_PORT", str(port))
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        code = f"from flows.review import bound, serve; serve(bound({port}), 'secret')"
        started.append(subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path))

        def answers() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        wait(answers)
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_a_person_answers_with_the_keyboard_and_a_kill_loses_nothing(
    serve: Callable[[], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    store = queue()
    four = {**pair(1), "responses": ["worst", "best", "middle", "last but one"], "priority": 2.0}
    store.add("run", [four, {**single(1), "priority": 1.0}, pair(2)])
    server = serve()
    with chromium(tmp_path / "profile") as page:
        page.open(f"http://127.0.0.1:{os.environ['REVIEW_PORT']}/?token=secret")
        page.shows("Who are you?")
        page.press(*"Ada", "Enter")  # the field has the focus
        page.shows("Rank these responses")
        shown = page.value("[...document.querySelectorAll('.response .text')].map((e) => e.innerText)")
        ranked = ("best", "middle", "last but one", "worst")
        page.press(*(str(shown.index(text) + 1) for text in ranked[:3]))  # the last place is given by itself
        page.press("Enter")
        page.shows("Rate this response")
        assert store.export()[0][0]["ranking"] == [four["responses"].index(text) for text in ranked]
        server.send_signal(signal.SIGKILL)
        server.wait()
        serve()
        page.press("4", "5", "1", "3", "Enter")
        page.shows("You answered 2")
        page.press("0")
        page.shows("Nothing is left to review")
    comparisons, _, (rating,) = store.export()
    assert rating["ratings"] == {"helpfulness": 4, "accuracy": 5, "harmlessness": 1, "honesty": 3}
    assert len(comparisons) == 1 and comparisons[0]["session_id"] and comparisons[0]["seconds"] >= 0
    assert store.compared()[0].better is None  # undecided
