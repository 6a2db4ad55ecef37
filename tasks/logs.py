"""Logs of a deployed policy, one JSON object a line, in the formats in which they come.

- plain: `prompt` (text or messages), `response` (or `completion`, `output`), optional `id`, `created_at`;
- OpenAI: `messages` with the answer last; or a request and its response, Chat Completions or Responses, side by side
  in one object or under `request` and `response`, as proxies and the Batch API write them;
- OpenTelemetry: spans of the GenAI conventions, as OTLP/JSON (`resourceSpans`, `resourceLogs`) or one span a line as
  the SDK's console exporter has them; texts in `gen_ai.input.messages` and `gen_ai.output.messages`, in the older
  `gen_ai.prompt` and `gen_ai.completion`, or in the older events.

Who asked is not read.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from governance.errors import BadInput
from tasks.reading import Row, read_rows

Messages = list[dict[str, str]]
ROLES = {"developer": "system", "system": "system", "assistant": "assistant", "model": "assistant", "ai": "assistant"}
TIMES = ("created_at", "timestamp", "time", "created", "startTimeUnixNano", "start_time", "timeUnixNano")
ANSWERS = ("response", "completion", "output", "answer")
GENERATIONS = ("chat", "text_completion", "generate_content", None)
SLACK = 86_400.0  # seconds that a clock may be ahead


@dataclass(frozen=True)
class Interaction:
    """A prompt and the response to it. `at`: Unix seconds, None if the log has no time; `identity`: what the log calls it,
    empty if nothing; `place`: file and line."""

    prompt: Messages
    response: str
    at: float | None
    identity: str
    place: str


def read_log(path: Path) -> Iterator[Interaction]:
    """Interactions of a log in order; requests that failed and spans of anything but generations are passed over.
    Raises BadInput with one sentence that names the line."""
    if not path.is_file():
        raise BadInput(f"{path}: there is no such file; name a log of prompts and responses, one JSON object a line.")
    for place, row in read_rows(str(path)):
        for attributes, holder in _spans(row):
            yield from _of_row(row, place) if attributes is row else _of_span(attributes, holder, place)


def _spans(row: Row) -> Iterator[tuple[Row, Row]]:
    """(attributes, the span or log record they belong to); the row twice if it is neither."""
    if isinstance(row.get("attributes"), dict | list) and not {"prompt", "messages", "request"} & row.keys():
        yield _attributes(row["attributes"]), row
        return
    batches = [("resourceSpans", "scopeSpans", "spans"), ("resourceLogs", "scopeLogs", "logRecords")]
    found = [(row[outer], inner, leaf) for outer, inner, leaf in batches if isinstance(row.get(outer), list)]
    if not found:
        yield row, row
    for resources, inner, leaf in found:
        for scope in (s for r in resources for s in _dicts(r, inner)):
            for one in _dicts(scope, leaf):
                yield _attributes(one.get("attributes")), one


def _dicts(holder: Any, name: str) -> list[Row]:
    every = holder.get(name) if isinstance(holder, dict) else None
    return [x for x in every if isinstance(x, dict)] if isinstance(every, list) else []


def _attributes(given: Any) -> Row:
    """Attributes as a dictionary; OTLP has a list of {key, value: {stringValue: …}}."""
    if isinstance(given, dict):
        return given
    pairs = [a for a in given if isinstance(a, dict)] if isinstance(given, list) else []
    return {str(a.get("key")): _otlp(a.get("value")) for a in pairs}


def _otlp(value: Any) -> Any:
    if not isinstance(value, dict) or len(value) != 1:
        return value
    ((kind, inner),) = value.items()
    if kind not in ("arrayValue", "kvlistValue"):
        return inner
    values = inner.get("values") if isinstance(inner, dict) else None
    if kind == "kvlistValue":
        return {str(v.get("key")): _otlp(v.get("value")) for v in _dicts(inner, "values")}
    return [_otlp(v) for v in values] if isinstance(values, list) else []


def _of_span(attributes: Row, span: Row, place: str) -> Iterator[Interaction]:
    generation = any(k.startswith("gen_ai.") for k in attributes)
    if not generation or attributes.get("gen_ai.operation.name") not in GENERATIONS or "error.type" in attributes:
        return
    every = [attributes, *(_attributes(e.get("attributes")) for e in _dicts(span, "events"))]
    asked = next((p for p in map(_asked, every) if p), None)
    answers = next((a for a in map(_answered, every) if a), None)
    if asked is None or answers is None:
        raise BadInput(
            f"{place}: the span has no texts (gen_ai.input.messages, gen_ai.output.messages); switch on the capture of "
            "message content in the instrumentation (OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT)."
        )
    context = span.get("context") if isinstance(span.get("context"), dict) else span
    ids = [str(context.get(k) or "") for k in ("traceId", "trace_id", "spanId", "span_id")] if context else []
    yield from _made(asked, answers, _at(span, place), "".join(ids), place)


def _asked(attributes: Row) -> Messages:
    """Prompt of a span or of one of its events; empty if it has none."""
    system = _parsed(attributes.get("gen_ai.system_instructions"))
    first = [{"role": "system", "content": _content(system)}] if system else []
    for name in ("gen_ai.input.messages", "gen_ai.prompt"):
        value = _parsed(attributes.get(name))
        if value:
            return first + _messages(value)
    return first + _numbered(attributes, "gen_ai.prompt")


def _answered(attributes: Row) -> list[str]:
    for name in ("gen_ai.output.messages", "gen_ai.completion"):
        value = _parsed(attributes.get(name))
        if value:
            return [m["content"] for m in _messages(value)]
    return [m["content"] for m in _numbered(attributes, "gen_ai.completion")]


def _numbered(attributes: Row, name: str) -> Messages:
    """Messages spread over attributes: <name>.0.role, <name>.0.content, …"""
    found: Messages = []
    while f"{name}.{len(found)}.content" in attributes:
        at = f"{name}.{len(found)}"
        found.append(_message({"role": attributes.get(f"{at}.role"), "content": attributes[f"{at}.content"]}))
    return found


def _of_row(row: Row, place: str) -> Iterator[Interaction]:
    request, response = (_body(row.get(name)) for name in ("request", "response"))
    if request is None or response is None:
        request = response = row
    if response.get("error") or int(response.get("status_code") or 0) >= 400:
        return
    asked = next((request[k] for k in ("messages", "prompt", "input") if _says(request.get(k))), None)
    answers = _answers(response)
    if answers is None and isinstance(asked, list) and len(asked) > 1 and _messages(asked)[-1]["role"] == "assistant":
        asked, answers = asked[:-1], [_messages(asked)[-1]["content"]]
    prompt = _messages(asked) if asked else []
    if answers is None or not any(m["content"].strip() for m in prompt):
        fields = ", ".join(sorted(map(str, row)))
        raise BadInput(
            f"{place}: has no {'prompt' if answers is not None else 'response'} (fields: {fields}); give prompt and "
            "response, an OpenAI request with its response, or a GenAI span."
        )
    if request.get("instructions"):
        prompt.insert(0, {"role": "system", "content": _content(request["instructions"])})
    identity = next((str(r[k]) for r in (response, row) for k in ("id", "custom_id", "request_id") if r.get(k)), "")
    yield from _made(prompt, answers, _at(row, place) or _at(response, place), identity, place)


def _says(asked: Any) -> bool:
    """Whether a prompt is text or messages; numbers, such as token ids, are not read."""
    if isinstance(asked, list):
        return bool(asked) and all(isinstance(m, str | dict) for m in asked)
    return bool(asked) and isinstance(asked, str | dict)


def _body(value: Any) -> Row | None:
    inner = value.get("body") if isinstance(value, dict) else None
    return inner if isinstance(inner, dict) else value if isinstance(value, dict) else None


def _answers(response: Row) -> list[str] | None:
    """Texts of the answers; None if there is nothing that is one."""
    choices = response.get("choices")
    if isinstance(choices, list) and choices:
        return [_content(c.get("message", c)) if isinstance(c, dict) else _content(c) for c in choices]
    for name in ANSWERS:
        value = response.get(name)
        if isinstance(value, str):
            return [value]
        if isinstance(value, list) and value:  # Responses: reasoning and tool calls are no answer to a person
            said = [v for v in value if isinstance(v, dict) and v.get("type", "message") == "message"]
            return ["\n".join(_content(v) for v in said)] if said else None
    return None


def _made(prompt: Messages, answers: list[str], at: float | None, identity: str, place: str) -> Iterator[Interaction]:
    for number, answer in enumerate(answers):
        yield Interaction(prompt, answer, at, f"{identity}:{number}" if identity else "", place)


def _messages(value: Any) -> Messages:
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    every = value if isinstance(value, list) else [value]
    return [_message(m) for m in every]


def _message(given: Any) -> dict[str, str]:
    role = str(given.get("role") or "user") if isinstance(given, dict) else "user"
    return {"role": ROLES.get(role, "user"), "content": _content(given)}


def _content(value: Any) -> str:
    """Text of a message, of its parts, or of anything that holds a text."""
    if value is None:
        return ""
    if isinstance(value, list):
        return "\n".join(t for t in map(_content, value) if t)
    if isinstance(value, dict):
        return next((_content(value[k]) for k in ("content", "parts", "text") if value.get(k) is not None), "")
    return str(value)


def _parsed(value: Any) -> Any:
    """Attributes often hold JSON as text."""
    if isinstance(value, str) and value[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _at(holder: Row, place: str) -> float | None:
    """Unix seconds of a record: ISO 8601, or seconds, or thousandths, millionths, billionths of them."""
    name = next((k for k in TIMES if holder.get(k) not in (None, "", 0, "0")), None)
    if name is None:
        return None
    value = holder[name]
    try:
        number = float(value)
        while abs(number) > 1e11:
            number /= 1000
    except (TypeError, ValueError):
        number = _iso(value, name, place)
    if not 0 < number < time.time() + SLACK:
        raise BadInput(f"{place}: field {name}: {str(value)[:40]!r} is no time that has been; correct the clock.")
    return number


def _iso(value: Any, name: str, place: str) -> float:
    try:
        given = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise BadInput(
            f"{place}: field {name}: {str(value)[:40]!r} is no time; write ISO 8601 or Unix seconds."
        ) from None
    return (given if given.tzinfo else given.replace(tzinfo=UTC)).timestamp()
