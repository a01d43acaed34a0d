"""Whatever a client sends, it is given a session or none, and scopes never mix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from llmqd.call import Dialect
from llmqd.messages.digest import Digests
from llmqd.messages.message import Message, ToolCall
from llmqd.messages.request import read_request
from tests.detection.talking import SECRET, Program, said

DIALECTS: list[Dialect] = ["openai", "anthropic", "gemini", "ollama"]
OPERATIONS = ["chat", "messages", "generate_content", "responses", "completion", "other", "embeddings"]
NAMES = st.sampled_from(
    (
        "role", "content", "type", "text", "parts", "tool_calls", "function", "name", "arguments", "id", "input",
        "tool_use_id", "call_id", "source", "url", "image_url", "functionCall", "functionResponse", "args", "data",
        "inlineData", "images", "thinking", "refusal", "toolUse", "document", "thought", "summary", "action", "status",
        "output",
    )
)  # fmt: skip
WORDS = st.sampled_from(
    (
        "user", "assistant", "model", "system", "tool", "text", "tool_use", "tool_result", "function_call", "reasoning",
        "function_call_output", "message", "image", "input_audio", "file", "web_search_call", "compaction", "Hello",
        "<system-reminder>x</system-reminder>", "", "😀", "data:image/png;base64,AA", "item_reference",
    )
)  # fmt: skip
LEAVES = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False, allow_infinity=False) | WORDS
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=5), max_leaves=12
)
FIELDS = st.dictionaries(
    st.sampled_from(
        [
            "messages",
            "contents",
            "input",
            "prompt",
            "system",
            "systemInstruction",
            "instructions",
            "previous_response_id",
        ]
    ),
    JSON | st.lists(st.dictionaries(NAMES, JSON, max_size=5), max_size=5),
)


@settings(max_examples=150, deadline=None)
@given(FIELDS, st.sampled_from(DIALECTS), st.sampled_from(OPERATIONS))
def test_no_body_makes_detection_fail(fields: dict[str, Any], dialect: Dialect, operation: str) -> None:
    program = Program()
    assignment = program.begin(fields, dialect=dialect, operation=operation)
    program.end(assignment, said("words", ToolCall("f", "{", "id")))
    said_there = read_request(dialect, operation, fields)
    assert (assignment.session is None) == (not said_there.turns and said_there.previous_response is None)
    for index in range(len(said_there.turns)):
        assert isinstance(said_there.message(index), Message)


@settings(max_examples=150, deadline=None)
@given(FIELDS, st.sampled_from(DIALECTS), st.sampled_from(OPERATIONS))
def test_the_form_that_is_remembered_tells_what_was_said(
    fields: Mapping[str, Any], dialect: Dialect, operation: str
) -> None:
    said_there = read_request(dialect, operation, fields)
    one, other = Digests(SECRET, 1000), Digests(SECRET, 1000)
    keys = one.keys(said_there)
    assert keys == one.keys(said_there) == [other.key(said_there.message(i)) for i in range(len(said_there.turns))]


CALLS = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.sampled_from(["OK.", "Yes", None])), max_size=40
)


@settings(max_examples=50, deadline=None)
@given(CALLS)
def test_scopes_never_share_a_session(calls: list[tuple[str, int, str | None]]) -> None:
    program = Program()
    histories: dict[tuple[str, int], list[dict[str, str]]] = {}
    seen: dict[str | None, str] = {}
    for scope, number, answer in calls:
        history = histories.setdefault((scope, number), [{"role": "user", "content": "Hello"}])
        session = program.call(history, answer, scope=scope)
        assert seen.setdefault(session, scope) == scope
        if answer is not None:
            history += [{"role": "assistant", "content": answer}, {"role": "user", "content": "Go on"}]
