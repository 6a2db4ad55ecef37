"""A model behind an OpenAI-compatible endpoint, asked with patience."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from governance.errors import BadInput, MissingComponent
from tasks.param_types import Endpoint
from tasks.progress import bar
from tasks.rlhf.encoding import Messages

WORKERS = 8
RETRIES = 3  # the client waits longer and longer between them, or as the server says
BUSY = (408, 409, 429)  # beside errors of the server, 500 and above
Asked = TypeVar("Asked")
Said = TypeVar("Said")


class ChatEndpoint:
    """Chat completions by OpenAI's client; every call is independent. `where` names the section of params.yaml in errors."""

    def __init__(self, settings: Endpoint, where: str) -> None:
        from openai import Omit, OpenAI

        self.settings, self._where = settings, where
        key = os.environ.get(settings.key, "")
        self._headers = {} if key else {"Authorization": Omit()}  # a server on this machine often asks for none
        self._client = OpenAI(
            base_url=settings.url, api_key=key or "none", timeout=settings.timeout, max_retries=RETRIES
        )

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
        """The first choice of a completion, with its `message`; a server that is busy is asked again. Raises BadInput
        where the server refuses or is none of chat, MissingComponent where it does not answer."""
        from openai import APIConnectionError, APIStatusError

        url, said = self.settings.url, self._where
        try:
            answer = self._client.chat.completions.create(
                model=self.settings.model,
                messages=messages,  # type: ignore[arg-type]  # with the fields that OpenAI's own types have
                extra_headers=self._headers,
                **options,
            )
            choice: dict[str, Any] = answer.model_dump()["choices"][0]
            choice["message"]["content"]  # which may be null
        except APIStatusError as error:
            if error.status_code in BUSY or error.status_code >= 500:
                raise MissingComponent(
                    f"{said}: {url} answers {error.status_code} again and again; look at the server, or set {said} to null."
                ) from None
            raise BadInput(
                f"{said}: {url} answers {error.status_code}; check url, model and the key in {self.settings.key}."
            ) from None
        except APIConnectionError:
            raise MissingComponent(f"{said}: {url} does not answer; start it, or set {said} to null.") from None
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            raise BadInput(f"{said}: {url} gives no chat completion; name an OpenAI-compatible url.") from None
        return choice
