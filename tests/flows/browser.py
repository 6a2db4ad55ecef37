"""Headless Chromium, driven over its DevTools protocol: what a person at the keyboard does with a page."""

import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
LONGEST = 30.0  # seconds until something must have happened


def wait(happened: Callable[[], Any]) -> Any:
    """What `happened` gives once it is true."""
    deadline = time.monotonic() + LONGEST
    while not (found := happened()):
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.05)
    return found


class Page:
    """One tab."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._number = socket, 0

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while (said := json.loads(self._socket.recv(LONGEST))).get("id") != self._number:
            pass
        assert "error" not in said, said
        result: dict[str, Any] = said["result"]
        return result

    def open(self, url: str) -> None:
        self._call("Page.navigate", url=url)

    def value(self, script: str) -> Any:
        """Of an expression in the page."""
        return self._call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def shows(self, text: str) -> None:
        """Wait until a page that is loaded shows a text."""
        found = f"document.readyState === 'complete' && document.body.innerText.includes({json.dumps(text)})"
        wait(lambda: self.value(found))

    def press(self, *keys: str) -> None:
        """Characters and `Enter`, one after the other."""
        for key in keys:
            named = {"key": key, "windowsVirtualKeyCode": 13 if key == "Enter" else ord(key.upper())}
            self._call("Input.dispatchKeyEvent", type="keyDown", text="\r" if key == "Enter" else key, **named)
            self._call("Input.dispatchKeyEvent", type="keyUp", **named)


@contextmanager
def chromium(profile: Path) -> Iterator[Page]:
    """A tab of a browser of its own."""
    assert CHROMIUM
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([*command, f"--user-data-dir={profile}", "about:blank"], **quiet)
    try:
        port_file = profile / "DevToolsActivePort"
        port = wait(lambda: port_file.is_file() and port_file.read_text(encoding="utf-8").partition("\n")[0])
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=LONGEST) as answer:
            tab = next(t for t in json.load(answer) if t["type"] == "page")
        with connect(tab["webSocketDebuggerUrl"], max_size=None) as socket:
            yield Page(socket)
    finally:
        process.terminate()
        process.wait(LONGEST)
