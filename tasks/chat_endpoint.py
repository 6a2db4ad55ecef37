"""A model behind an OpenAI-compatible endpoint, asked with patience."""

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from governance.errors import BadInput, MissingComponent
from tasks.param_types import Endpoint
from tasks.progress import bar
from tasks.rlhf.encoding import Messages

WORKERS = 8
TRIES = 4
RETRIED = (408, 409, 429, 500, 502, 503, 504)
Asked = TypeVar("Asked")
Said = TypeVar("Said")


class ChatEndpoint:
    """Chat completions; every call is independent. `where` names the section of params.yaml in errors."""

    def __init__(self, settings: Endpoint, where: str) -> None:
        self.settings, self._where = settings, where
        self._key = os.environ.get(settings.key, "")

    def each(self, ask: Callable[[Asked], Said], questions: Sequence[Asked], unit: str) -> list[Said]:
        """`ask` of every question, in their order, `WORKERS` at once."""
        label = f"{self._where}: {self.settings.model}"
        with bar(len(questions), label, unit) as progress, ThreadPoolExecutor(WORKERS) as pool:
            found = []
            for said in pool.map(ask, questions):
                found.append(said)
                progress.update()
        return found

    def complete(self, messages: Messages, **options: Any) -> dict[str, Any]:
        """The first choice of a completion, with its `message`; a server that is busy is asked again, longer and longer
        apart. Raises BadInput where the server refuses or is none of chat, MissingComponent where it does not answer."""
        body = {"model": self.settings.model, "messages": list(messages), **options}
        url = f"{self.settings.url.rstrip('/')}/chat/completions"
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self._key}"} if self._key else {})
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        for attempt in range(TRIES):
            try:
                with urllib.request.urlopen(request, timeout=self.settings.timeout) as response:
                    choice: dict[str, Any] = json.load(response)["choices"][0]
                    if "content" in choice["message"]:  # which may be null
                        return choice
                    raise KeyError("content")
            except urllib.error.HTTPError as error:
                if error.code not in RETRIED:
                    raise BadInput(
                        f"{self._where}: {url} answers {error.code}; check url, model and the key in {self.settings.key}."
                    ) from None
            except (ValueError, KeyError, IndexError, TypeError):
                raise BadInput(
                    f"{self._where}: {url} gives no chat completion; name an OpenAI-compatible url."
                ) from None
            except OSError:
                pass
            time.sleep(0.2 * 4**attempt if attempt + 1 < TRIES else 0)
        raise MissingComponent(f"{self._where}: {url} does not answer; start it, or set {self._where} to null.")
