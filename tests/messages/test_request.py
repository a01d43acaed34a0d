"""What requests of every dialect say."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest

from llmqd.call import Dialect
from llmqd.messages.message import Media, Message, Part, Reasoning, Text, ToolCall, ToolResult
from llmqd.messages.request import Said, read_request


def read(dialect: Dialect, operation: str, **fields: Any) -> Said:
    return read_request(dialect, operation, fields)


def messages(said: Said) -> list[Message]:
    return [said.message(index) for index in range(len(said.turns))]


def one(role: Any, *parts: Part) -> Message:
    return Message(role, parts)


ADD = {"name": "add", "arguments": '{"a":1}'}
CALL = ToolCall("add", '{"a":1}', "c1")


def test_openai_chat() -> None:
    said = read(
        "openai",
        "chat",
        messages=[
            {"role": "system", "content": "be kind"},
            {"role": "developer", "content": [{"type": "text", "text": "be brief"}]},
            {
                "role": "user",
                "content": [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "u"}}],
            },
            {
                "role": "assistant",
                "content": None,
                "reasoning_content": "hm",
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}],
            },
            {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "7"}]},
            {"role": "assistant", "content": "Seven", "refusal": None, "tool_calls": None, "function_call": None},
        ],
    )
    assert messages(said) == [
        one("user", Text("look"), Media("image", "u")),
        one("assistant", Reasoning("hm"), CALL),
        one("tool", ToolResult("7", "c1")),
        one("assistant", Text("Seven")),
    ]
    assert [said.system_message(index).text for index in range(2)] == ["be kind", "be brief"]


def test_openai_responses() -> None:
    said = read(
        "openai",
        "responses",
        instructions="be kind",
        previous_response_id="resp_1",
        input=[
            {"role": "developer", "content": "be brief"},
            {
                "role": "user",
                "content": [{"type": "input_text", "text": "look"}, {"type": "input_image", "image_url": "u"}],
            },
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "x"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I add."}]},
            {"type": "function_call", "call_id": "c1", "name": "add", "arguments": '{"a":1}'},
            {"type": "function_call_output", "call_id": "c1", "output": "7"},
            {"type": "item_reference", "id": "msg_9"},
            {"type": "web_search_call", "id": "ws_1", "action": {"query": "q"}},
        ],
    )
    assert messages(said) == [
        one("user", Text("look"), Media("image", "u")),
        one("assistant", Reasoning("hm"), Text("I add."), CALL),
        one("tool", ToolResult("7", "c1")),
        one("assistant", ToolCall("web_search", '{"query":"q"}', "ws_1")),
    ]
    assert [said.system_message(index).text for index in range(2)] == ["be kind", "be brief"]
    assert (said.previous_response, said.by_response) == ("resp_1", True)
    assert (said.reference, said.keeps_items) == ("msg_9", True)


def test_a_responses_input_may_be_a_text() -> None:
    assert messages(read("openai", "responses", input="hello")) == [one("user", Text("hello"))]


def test_anthropic_messages() -> None:
    said = read(
        "anthropic",
        "messages",
        system=[{"type": "text", "text": "be kind", "cache_control": {"type": "ephemeral"}}],
        messages=[
            {"role": "user", "content": "look"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "text", "text": "I add."},
                    {"type": "tool_use", "id": "c1", "name": "add", "input": {"a": 1}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "7"}]},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                    {"type": "document", "source": {"type": "url", "url": "http://x/y.pdf"}, "title": "y"},
                    {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}},
                ],
            },
        ],
    )
    assert messages(said) == [
        one("user", Text("look")),
        one("assistant", Reasoning("hm"), Text("I add."), CALL),
        one("tool", ToolResult("7", "c1")),
        one("user", Media("image/png", None, "AAAA", 3), Media("file", "http://x/y.pdf", name="y"), Text("words")),
    ]
    assert said.system_message(0).text == "be kind"


def test_gemini_contents() -> None:
    said = read(
        "gemini",
        "generate_content",
        systemInstruction={"parts": [{"text": "be kind"}]},
        contents=[
            {"parts": [{"text": "look"}, {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]},
            {"role": "model", "parts": [{"text": "hm", "thought": True}, {"text": "I "}]},
            {
                "role": "model",
                "parts": [{"text": "add."}, {"functionCall": {"name": "add", "args": {"a": 1}, "id": "c1"}}],
            },
            {"role": "user", "parts": [{"functionResponse": {"name": "add", "response": {"r": 7}, "id": "c1"}}]},
            {"role": "user", "parts": [{"file_data": {"mime_type": "video/mp4", "file_uri": "gs://x"}}]},
        ],
    )
    assert messages(said) == [
        one("user", Text("look"), Media("image/png", None, "AAAA", 3)),
        one("assistant", Reasoning("hm"), Text("I "), Text("add."), CALL),
        one("tool", ToolResult('{"r":7}', "c1", "add")),
        one("user", Media("video/mp4", "gs://x")),
    ]
    assert said.system_message(0).text == "be kind"


@pytest.mark.parametrize(
    "contents", ["look", {"parts": [{"text": "look"}]}, {"parts": {"text": "look"}}, ["look"], [{"parts": ["look"]}]]
)
def test_gemini_contents_may_be_written_shorter(contents: Any) -> None:
    assert messages(read("gemini", "generate_content", contents=contents)) == [one("user", Text("look"))]


def test_ollama_chat() -> None:
    said = read(
        "ollama",
        "chat",
        messages=[
            {"role": "user", "content": "look", "images": ["AAAA"]},
            {
                "role": "assistant",
                "content": "",
                "thinking": "hm",
                "tool_calls": [{"function": ADD | {"arguments": {"a": 1}}}],
            },
            {"role": "tool", "tool_name": "add", "content": "7"},
        ],
    )
    assert messages(said) == [
        one("user", Text("look"), Media("image", None, "AAAA", 3)),
        one("assistant", Reasoning("hm"), ToolCall("add", '{"a":1}')),
        one("tool", ToolResult("7", None, "add")),
    ]


@pytest.mark.parametrize(
    ("operation", "prompt"), [("completion", "Once"), ("completion", ["Once"]), ("complete", "Once")]
)
def test_prompts(operation: str, prompt: Any) -> None:
    said = read("openai", operation, prompt=prompt, system="be kind")
    assert messages(said) == [one("user", Text("Once"))]
    assert said.system_message(0).text == "be kind"


def test_prompts_of_numbers_say_nothing() -> None:
    assert read("openai", "completion", prompt=[1, 2, 3]).turns == []


def test_cohere_chat() -> None:
    said = read(
        "openai",
        "other",
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "add"}]},
            {"role": "assistant", "tool_plan": "hm", "tool_calls": [{"id": "c1", "function": ADD}]},
            {"role": "tool", "tool_call_id": "c1", "content": [{"type": "document", "document": {"data": "7"}}]},
        ],
    )
    assert messages(said) == [
        one("user", Text("add")),
        one("assistant", CALL),
        one("tool", ToolResult('{"data":"7"}', "c1")),
    ]


def test_bedrock_converse() -> None:
    said = read(
        "openai",
        "other",
        system=[{"text": "be kind"}],
        messages=[
            {"role": "user", "content": [{"text": "add"}, {"image": {"format": "png", "source": {"bytes": "AAAA"}}}]},
            {"role": "assistant", "content": [{"toolUse": {"toolUseId": "c1", "name": "add", "input": {"a": 1}}}]},
            {"role": "user", "content": [{"toolResult": {"toolUseId": "c1", "content": [{"json": {"r": 7}}]}}]},
        ],
    )
    assert messages(said) == [
        one("user", Text("add"), Media("image", None, "AAAA", 3)),
        one("assistant", CALL),
        one("tool", ToolResult('{"r":7}', "c1")),
    ]
    assert said.system_message(0).text == "be kind"


@pytest.mark.parametrize("operation", ["embeddings", "models", "count_tokens", "images", "batches"])
def test_what_is_no_conversation_says_nothing(operation: str) -> None:
    said = read("openai", operation, input="x", messages=[{"role": "user", "content": "x"}], prompt="x")
    assert (said.turns, said.system) == ([], [])


def test_a_data_url_is_its_bytes() -> None:
    block = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    [message] = messages(read("openai", "chat", messages=[{"role": "user", "content": [block]}]))
    assert message.parts == (Media("image/png", None, "AAAA", 3),)
    block = {"type": "image_url", "image_url": {"url": "data:image/svg+xml;charset=utf-8,%3Csvg/%3E"}}
    [message] = messages(read("openai", "chat", messages=[{"role": "user", "content": [block]}]))
    assert message.parts == (Media("image/svg+xml", None, b64encode(b"<svg/>").decode(), 6),)


def test_media_of_every_kind() -> None:
    blocks = [
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "file", "file": {"file_id": "file-1", "filename": "a.pdf"}},
        {"type": "input_file", "file_data": "data:application/pdf;base64,AAAA", "filename": "b.pdf"},
        {"type": "video_url", "video_url": {"url": "http://x/y.mp4"}},
        {"type": "something_new", "text": "its words"},
        {"type": "something_new"},
        {"type": ["odd"]},
        17,
    ]
    [message] = messages(read("openai", "chat", messages=[{"role": "user", "content": blocks}]))
    assert message.parts == (
        Media("audio/wav", None, "AAAA", 3),
        Media("file", "file-1", name="a.pdf"),
        Media("application/pdf", None, "AAAA", 3, "b.pdf"),
        Media("video", "http://x/y.mp4"),
        Text("its words"),
    )


def test_calls_as_they_were_before_tools_and_custom_ones() -> None:
    said = read(
        "openai",
        "chat",
        messages=[
            {"role": "assistant", "content": None, "function_call": {"name": "add", "arguments": "{}"}},
            {"role": "function", "name": "add", "content": "7"},
            {
                "role": "assistant",
                "tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "sh", "input": "ls"}}, 5],
            },
        ],
    )
    assert messages(said) == [
        one("assistant", ToolCall("add", "{}")),
        one("tool", ToolResult("7", None, "add")),
        one("assistant", ToolCall("sh", "ls", "c")),
    ]


def test_documents_and_findings_that_anthropics_clients_hand_over() -> None:
    words = [{"type": "text", "text": "found"}]
    found = {"type": "search_result", "title": "t", "source": "https://s", "content": words}
    result = {"type": "tool_result", "tool_use_id": "c", "content": [{"type": "text", "text": "a"}, found]}
    blocks = [
        found,
        {"type": "document", "source": {"type": "content", "content": words}},
        {"type": "container_upload", "file_id": "f1"},
        {"type": "search_result", "content": []},
        result,
    ]
    said = read("anthropic", "messages", messages=[{"role": "user", "content": blocks}])
    assert messages(said) == [
        one(
            "user",
            Text("t\nhttps://s\nfound"),
            Text("found"),
            Media("file", "f1"),
            ToolResult("a\nt\nhttps://s\nfound", "c"),
        )
    ]


def test_files_in_base64_by_itself_are_bytes_and_no_url() -> None:
    def file(data: str) -> dict[str, Any]:
        return {"type": "input_file", "filename": "n", "file_data": data}

    content = [file("QUJD"), file("data:application/pdf;base64,QUJD"), file("https://x/y.pdf")]
    said = read("openai", "responses", input=[{"role": "user", "content": content}])
    assert messages(said) == [
        one(
            "user",
            Media("file", None, "QUJD", 3, "n"),
            Media("application/pdf", None, "QUJD", 3, "n"),
            Media("file", "https://x/y.pdf", None, 0, "n"),
        )
    ]


def test_a_picture_that_a_tool_gave_back_is_a_medium() -> None:
    shot = {"type": "computer_screenshot", "image_url": "data:image/png;base64,QUJD"}
    said = read("openai", "responses", input=[{"type": "computer_call_output", "call_id": "c", "output": shot}])
    assert messages(said) == [one("tool", ToolResult("", "c", None, (Media("image/png", None, "QUJD", 3),)))]
    response = {"name": "f", "response": {}, "parts": [{"inlineData": {"mimeType": "image/png", "data": "QUJD"}}]}
    said = read("gemini", "generate_content", contents=[{"parts": [{"functionResponse": response}]}])
    assert messages(said) == [one("tool", ToolResult("{}", None, "f", (Media("image/png", None, "QUJD", 3),)))]


def test_thoughts_and_documents_of_mistral() -> None:
    thoughts = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}, {"type": "text", "text": "m"}]}
    content = [thoughts, {"type": "document_url", "document_url": "https://d", "document_name": "n"}]
    content.append({"type": "input_audio", "input_audio": "QUJD"})
    said = read("openai", "chat", messages=[{"role": "assistant", "content": content}])
    medium = (Media("file", "https://d", None, 0, "n"), Media("audio", None, "QUJD", 3))
    assert messages(said) == [one("assistant", Reasoning("hmm"), *medium)]


def test_pictures_beside_a_prompt_of_ollama() -> None:
    said = read("ollama", "chat", prompt="what is it?", images=["QUJD"])
    assert messages(said) == [one("user", Text("what is it?"), Media("image", None, "QUJD", 3))]
