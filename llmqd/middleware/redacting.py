"""Takes secrets out of a copy of a call before anyone who looks on sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import orjson

from llmqd.call import Dialect
from llmqd.messages.answer import read_answer
from llmqd.messages.message import Reasoning, Text, ToolCall
from llmqd.middleware.sighting import HIDDEN, Answered, Asked, shown_headers, shown_query, shown_url
from llmqd.store.redaction import Redaction
from llmqd.tap.decoding import decode_all

_DECODED = 16 << 20


def redacted_request(asked: Asked, redaction: Redaction) -> Asked:
    """The request without secrets. A body that is JSON stays JSON."""
    clean = redaction.text
    body, coding = asked.body, asked.header("content-encoding")
    if body is not None and coding:
        body = decode_all(body, coding, _DECODED)
    body = None if body is None else _clean_body(body, clean)
    return replace(
        asked,
        path=clean(asked.path),
        url=clean(shown_url(asked.url)),
        query=tuple((name, clean(value)) for name, value in shown_query(asked.url.partition("?")[2])),
        headers=tuple((name, clean(value)) for name, value in shown_headers(asked.headers)),
        body=body,
        session=asked.session and clean(asked.session),
        model=asked.model and clean(asked.model),
    )


def redacted_answer(asked: Asked, answered: Answered, redaction: Redaction) -> Answered:
    """The answer without secrets, its pieces decoded. A secret may lie across pieces, or across events of a stream:
    then the pieces are put into one, or are not shown at all."""
    clean = redaction.text
    headers = tuple((name, clean(value)) for name, value in shown_headers(answered.headers))
    chunks = answered.chunks
    if answered.content_encoding and chunks:
        plain = decode_all(b"".join(chunks), answered.content_encoding, _DECODED)
        chunks = (plain,) if plain is not None else ()
    raw = b"".join(chunks)
    if raw:
        cleaned = _clean_body(raw, clean)
        if cleaned != raw:
            chunks = (cleaned,)
        if answered.streaming and _says_secret(asked, answered.content_type, cleaned, redaction):
            chunks = (f"{HIDDEN}: a secret lies across several events".encode(),)
    return replace(answered, headers=headers, chunks=chunks)


def _says_secret(asked: Asked, content_type: str, raw: bytes, redaction: Redaction) -> bool:
    """Whether the words of all events together hold a secret that no event holds alone."""
    answer = read_answer(cast(Dialect, asked.dialect), asked.operation, content_type, raw)
    if answer is None:
        return False
    for message in (answer.message, *answer.others):
        for part in message.parts:
            text = part.text if isinstance(part, Text | Reasoning) else ""
            text = part.arguments if isinstance(part, ToolCall) else text
            if redaction.text(text) != text:
                return True
    return False


def _clean_body(raw: bytes, clean: Callable[[str], str]) -> bytes:
    """A JSON body is looked into text by text, so that escapes hide nothing; anything else as one text."""
    try:
        value = orjson.loads(raw)
        cleaned_value = _clean_value(value, clean)
        return raw if cleaned_value == value else orjson.dumps(cleaned_value)
    except (ValueError, TypeError, RecursionError):  # no JSON, or nested deeper than can be looked into or written
        text = raw.decode("utf-8", "replace")
        cleaned = clean(text)
        return raw if cleaned == text else cleaned.encode("utf-8", "replace")


def _clean_value(value: Any, clean: Callable[[str], str]) -> Any:
    match value:
        case str():
            return clean(value)
        case dict():
            return {clean(name): _clean_value(item, clean) for name, item in value.items()}
        case list():
            return [_clean_value(item, clean) for item in value]
        case _:
            return value
