"""Reads the content of a message, a text or a list of blocks, into parts: the blocks of every dialect but Gemini's."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

import orjson

from llmqd.messages.message import Media, Part, Reasoning, Text, ToolCall, ToolResult

Block = Mapping[str, Any]

_BASE64_RATIO = 3 / 4


def parts_of(content: object) -> list[Part]:
    """The parts of a content member: text, one block or a list of them. What is not understood is passed over.

    Blocks are those of OpenAI chat and Responses, Anthropic Messages, Cohere v2 chat and Bedrock Converse (which
    names a block by its only member).
    """
    if isinstance(content, str):
        return [Text(content)] if content else []
    if isinstance(content, Mapping):
        content = [content]
    if not isinstance(content, list):
        return []
    parts: list[Part] = []
    for block in content:
        if isinstance(block, str):
            parts.append(Text(block))
        elif isinstance(block, Mapping):
            part = _part(block)
            if part is not None:
                parts.append(part)
    return parts


def _part(block: Block) -> Part | None:
    kind = block.get("type")
    if kind is None and block:
        kind = next(iter(block))
        if kind in ("image", "video", "document") and isinstance(block[kind], Mapping):
            block = block[kind]
    read = _READERS.get(kind, _text) if isinstance(kind, str) else _text
    return read(block)


def json_text(value: object) -> str:
    """JSON of a value that came from JSON; a text stays as it is, and nothing is the empty text."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:  # nested deeper than can be written
        return ""


def word(value: object) -> str | None:
    """A text that is not empty, None for anything else."""
    return value if isinstance(value, str) and value else None


def tool_result(content: object, call_id: object = None, name: object = None) -> ToolResult:
    """What a tool gave back: the texts of its content, one below the other, or JSON as it was written."""
    parts = parts_of(content)
    texts = [part.text for part in parts if isinstance(part, Text)]
    media = tuple(part for part in parts if isinstance(part, Media))
    text = "\n".join(texts) if texts or media else json_text(content)
    return ToolResult(text, word(call_id), word(name), media)


def media(kind: str, url: object = None, data: object = None, name: object = None) -> Media:
    """A medium by its URL or its base64 text; a `data:` URL (RFC 2397) is its bytes."""
    link, inline = word(url), word(data)
    if link is not None and link.startswith("data:"):
        head, _, inline = link.partition(",")
        if not head.endswith(";base64"):
            inline = b64encode(unquote_to_bytes(inline.encode("utf-8", "replace"))).decode()
        link, kind = None, head[5:].partition(";")[0] or kind
    size = int(len(inline) * _BASE64_RATIO) if inline else 0
    return Media(kind, link, inline or None, size, word(name))


def _text(block: Block) -> Part | None:
    """Words; of a block of a kind that is not known, its words too."""
    text = word(block.get("text")) or word(block.get("refusal"))
    return Text(text) if text is not None else None


def _reasoning(block: Block) -> Part | None:
    """Thoughts; Mistral's are a list of texts."""
    thoughts = block.get("thinking")
    text = _words(thoughts) if isinstance(thoughts, list) else word(thoughts) or word(block.get("text"))
    return Reasoning(text) if text else None


def _words(content: object) -> str:
    return "".join([part.text for part in parts_of(content) if isinstance(part, Text)])


def _nothing(_: Block) -> Part | None:
    return None


def _call(block: Block) -> Part | None:
    name = word(block.get("name"))
    return ToolCall(name, json_text(block.get("input")), word(block.get("id"))) if name is not None else None


def _result(block: Block) -> Part | None:
    return tool_result(block.get("content"), block.get("tool_use_id"))


def _converse_call(block: Block) -> Part | None:
    call = _member(block, "toolUse")
    name = word(call.get("name"))
    return ToolCall(name, json_text(call.get("input")), word(call.get("toolUseId"))) if name is not None else None


def _converse_result(block: Block) -> Part | None:
    result = _member(block, "toolResult")
    return tool_result(result.get("content"), result.get("toolUseId"))


def _image_url(block: Block) -> Part | None:
    url = block.get("image_url")
    return media("image", url.get("url") if isinstance(url, Mapping) else url or block.get("file_id"))


def _source(kind: str) -> Callable[[Block], Part | None]:
    def read(block: Block) -> Part | None:
        source = _member(block, "source")
        if source.get("type") == "text":
            return Text(json_text(source.get("data")))
        if source.get("type") == "content":
            return _text({"text": _words(source.get("content"))})
        given = word(source.get("media_type")) or kind
        url = source.get("url") or source.get("file_id") or block.get("url")
        return media(given, url, source.get("data") or source.get("bytes"), block.get("title") or block.get("name"))

    return read


def _audio(block: Block) -> Part | None:
    audio = _member(block, "input_audio") or {"data": block.get("input_audio")}
    form = word(audio.get("format"))
    return media(f"audio/{form}" if form else "audio", None, audio.get("data"))


def _file(block: Block) -> Part | None:
    """`file_data` is a URL of either kind, or base64 by itself."""
    file = _member(block, "file") or block
    url, data = file.get("file_id") or file.get("file_url"), word(file.get("file_data"))
    if data is not None and (data.startswith("data:") or "://" in data[:16]):
        url, data = data, None
    return media("file", url if data is None else None, data, file.get("filename"))


def _video(block: Block) -> Part | None:
    return media("video", _member(block, "video_url").get("url"))


def _document(block: Block) -> Part | None:
    """Anthropic's `document` has a source, Cohere's holds fields of any kind."""
    held = block.get("document")
    return Text(json_text(held)) if held is not None else _source("file")(block)


def _document_url(block: Block) -> Part | None:
    return media("file", block.get("document_url"), name=block.get("document_name"))


def _search_result(block: Block) -> Part | None:
    """What a search found, as the client hands it to the model (Anthropic): where it stands, and its words."""
    lines = (word(block.get("title")), word(block.get("source")), _words(block.get("content")))
    return _text({"text": "\n".join([line for line in lines if line])})


def _json(block: Block) -> Part | None:
    return Text(json_text(block.get("json")))


def _compaction(block: Block) -> Part | None:
    """The words that stand for what was said before them (Anthropic, context management)."""
    text = word(block.get("content"))
    return Text(text) if text is not None else None


def _member(block: Block, name: str) -> Block:
    value = block.get(name)
    return value if isinstance(value, Mapping) else {}


_READERS: Mapping[str, Callable[[Block], Part | None]] = {
    **dict.fromkeys(("text", "input_text", "output_text", "summary_text", "refusal"), _text),
    **dict.fromkeys(("thinking", "reasoning", "reasoning_text"), _reasoning),
    **dict.fromkeys(("redacted_thinking", "reasoningContent", "cachePoint"), _nothing),
    **dict.fromkeys(("tool_use", "server_tool_use", "mcp_tool_use"), _call),
    **dict.fromkeys(
        (
            "tool_result",
            "mcp_tool_result",
            "web_search_tool_result",
            "web_fetch_tool_result",
            "code_execution_tool_result",
            "bash_code_execution_tool_result",
            "text_editor_code_execution_tool_result",
            "tool_search_tool_result",
        ),
        _result,
    ),
    "toolUse": _converse_call,
    "toolResult": _converse_result,
    **dict.fromkeys(("image_url", "input_image", "computer_screenshot"), _image_url),
    "image": _source("image"),
    "video": _source("video"),
    "input_audio": _audio,
    **dict.fromkeys(("file", "input_file", "container_upload"), _file),
    "video_url": _video,
    "document": _document,
    "document_url": _document_url,
    "search_result": _search_result,
    "json": _json,
    "compaction": _compaction,
}
