"""Logs in every format give the same prompts and responses; a broken line is named."""

import json
from pathlib import Path
from typing import Any

import pytest

from governance.errors import BadInput
from tasks.logs import Interaction, read_log

ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is bread?"}]
SAID = "Baked dough."
PARTS = [{"role": m["role"], "parts": [{"type": "text", "content": m["content"]}]} for m in ASKED]
OUT = [{"role": "assistant", "parts": [{"type": "text", "content": SAID}], "finish_reason": "stop"}]
OPENAI = {"id": "chatcmpl-1", "created": 1764000000, "choices": [{"message": {"role": "assistant", "content": SAID}}]}


def otlp(attributes: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"key": k, "value": {"stringValue": v if isinstance(v, str) else json.dumps(v)}} for k, v in attributes.items()
    ]


SPAN = {
    "traceId": "a1", "spanId": "b2", "startTimeUnixNano": "1764000000000000000", "name": "chat small",
    "attributes": otlp({"gen_ai.operation.name": "chat", "gen_ai.input.messages": PARTS, "gen_ai.output.messages": OUT}),
}  # fmt: skip
OTHER = {"traceId": "a1", "spanId": "c3", "name": "GET /", "attributes": otlp({"http.request.method": "GET"})}
FORMATS: dict[str, dict[str, Any]] = {
    "plain": {"prompt": ASKED, "response": SAID, "created_at": "2025-11-24T16:00:00Z"},
    "messages": {"messages": [*ASKED, {"role": "assistant", "content": SAID}], "timestamp": 1764000000},
    "openai, flat": {"model": "m", "messages": ASKED, **OPENAI},
    "openai, pair": {"request": {"model": "m", "messages": ASKED}, "response": OPENAI},
    "openai, batch": {"request": {"body": {"messages": ASKED}}, "response": {"status_code": 200, "body": OPENAI}},
    "openai, parts": {
        "request": {"messages": [{"role": "developer", "content": "Be brief."},
                                 {"role": "user", "content": [{"type": "text", "text": "What is bread?"}]}]},
        "response": OPENAI,
    },
    "openai, responses": {
        "request": {"instructions": "Be brief.", "input": "What is bread?"},
        "response": {"id": "r1", "created_at": 1764000000, "output": [
            {"type": "reasoning", "summary": []},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": SAID}]}]},
    },
    "otlp": {"resourceSpans": [{"scopeSpans": [{"spans": [OTHER, SPAN]}]}]},
    "otlp, log records": {"resourceLogs": [{"scopeLogs": [{"logRecords": [
        {"traceId": "a1", "spanId": "b2", "timeUnixNano": "1764000000000000000", "attributes": SPAN["attributes"]}]}]}]},
    "sdk": {
        "name": "chat", "context": {"trace_id": "0xa1", "span_id": "0xb2"}, "start_time": "2025-11-24T16:00:00.000000Z",
        "attributes": {"gen_ai.input.messages": json.dumps(PARTS), "gen_ai.output.messages": json.dumps(OUT)},
    },
    "sdk, events": {
        "context": {"trace_id": "0xa1", "span_id": "0xb2"}, "start_time": "2025-11-24T16:00:00.000000Z",
        "attributes": {"gen_ai.system": "x"}, "events": [
            {"name": "gen_ai.content.prompt", "attributes": {"gen_ai.prompt": json.dumps(ASKED)}},
            {"name": "gen_ai.content.completion",
             "attributes": {"gen_ai.completion": json.dumps([{"role": "assistant", "content": SAID}])}}],
    },
    "numbered": {
        "context": {"trace_id": "0xa1", "span_id": "0xb2"}, "start_time": "2025-11-24T16:00:00.000000Z", "attributes": {
            "gen_ai.prompt.0.role": "system", "gen_ai.prompt.0.content": "Be brief.", "gen_ai.prompt.1.role": "user",
            "gen_ai.prompt.1.content": "What is bread?", "gen_ai.completion.0.content": SAID},
    },
}  # fmt: skip


def read(folder: Path, *rows: Any) -> list[Interaction]:
    file = folder / "log.jsonl"
    file.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows), encoding="utf-8")
    return list(read_log(file))


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_says_the_same(name: str, tmp_path: Path) -> None:
    (found,) = read(tmp_path, FORMATS[name])
    assert (found.prompt, found.response, found.at) == (ASKED, SAID, 1764000000.0)
    assert bool(found.identity) == (name not in ("plain", "messages"))


def test_each_choice_is_a_response(tmp_path: Path) -> None:
    both = {"messages": ASKED, "id": "x", "choices": [{"message": {"content": t}} for t in ("a", "b")]}
    assert [(i.response, i.identity) for i in read(tmp_path, both)] == [("a", "x:0"), ("b", "x:1")]


def test_failed_requests_and_other_spans_are_passed_over(tmp_path: Path) -> None:
    failed = {"request": {"messages": ASKED}, "response": {"status_code": 500, "body": {"error": {"message": "x"}}}}
    embedding = {"context": {}, "attributes": {"gen_ai.operation.name": "embeddings"}}
    assert read(tmp_path, failed, {"resourceSpans": [{"scopeSpans": [{"spans": [OTHER]}]}]}, embedding) == []


def test_an_empty_answer_is_an_answer(tmp_path: Path) -> None:
    (found,) = read(tmp_path, {"prompt": "Hi", "response": ""})
    assert found.response == "" and found.at is None


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("{broken", "not valid JSON"),
        ({"prompt": "x"}, "has no response"),
        ({"response": "x"}, "has no prompt"),
        ({"prompt": "  ", "response": "x"}, "has no prompt"),
        ({"prompt": "x", "response": "y", "created_at": "yesterday"}, "created_at"),
        ({"prompt": "x", "response": "y", "created_at": "2199-01-01"}, "correct the clock"),
        ({"context": {}, "attributes": {"gen_ai.operation.name": "chat"}}, "CAPTURE_MESSAGE_CONTENT"),
        ({"messages": 5, "choices": [7]}, "has no prompt"),
        ({"prompt": [15496, 995], "response": "token ids"}, "has no prompt"),
        *(
            ({"context": {}, "attributes": [{"key": "gen_ai.system", "value": odd}]}, "CAPTURE_MESSAGE_CONTENT")
            for odd in ({"arrayValue": {"values": 3}}, {"kvlistValue": {"values": [1]}}, {"kvlistValue": None})
        ),
    ],
)
def test_a_broken_line_is_named(row: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="line 2: ") as error:
        read(tmp_path, FORMATS["plain"], row)
    assert words in str(error.value)


def test_an_absent_log_is_no_hub_name(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="there is no such file"):
        list(read_log(tmp_path / "absent.jsonl"))
