"""The body of a request as it leaves for an upstream: as it came, but for a model's other name and usage asked for."""

from __future__ import annotations

import mmap
from collections.abc import AsyncIterable
from typing import TYPE_CHECKING

import msgspec

from llmqd.tap.decoding import decode_all
from llmqd.tap.include_usage import add_include_usage
from llmqd.web.body import MAX_READABLE
from llmqd.web.rename import rename_model
from llmqd.web.splice import Splice, spliced, spliced_size

if TYPE_CHECKING:
    from llmqd.web.passage import Passage

_MAX_EDITED = 32 * 1024 * 1024
"""Bodies larger than this are not edited to ask for usage; no provider takes larger chat requests."""


class Outgoing(msgspec.Struct, frozen=True):
    """A body that leaves.

    `length` is its size where the client session cannot know it; `decoded` says that its Content-Encoding was undone,
    `asks_usage` that a usage chunk was asked for on the client's behalf.
    """

    content: bytes | AsyncIterable[bytes] | None
    length: int | None = None
    decoded: bool = False
    asks_usage: bool = False


def outgoing(passage: Passage) -> Outgoing:
    """The body for the upstream where the call is tried now. Can be asked for again as long as the body is kept."""
    if passage.passing is not None:
        return Outgoing(passage.passing, passage.request.content_length)
    body, encoded = passage.body, bool(passage.head.content_encoding)
    renames = passage.call.sent_model is not None and passage.facts.model is not None
    asks = _may_ask_for_usage(passage) and not (encoded and not renames)
    if not (renames or asks):
        return Outgoing(body.content, body.size if body.spool is not None else None)
    with body.view() as raw:
        data = _decoded(passage, raw) if encoded else raw
        splices = _renaming(passage, data) if renames else ()
        if asks and len(data) <= _MAX_EDITED and (edited := add_include_usage(spliced(data, splices))) is not None:
            return Outgoing(edited, decoded=encoded, asks_usage=True)
        if encoded or body.spool is None:
            return Outgoing(spliced(data, splices), decoded=encoded)
    return Outgoing(body.with_splices(splices), spliced_size(body.size, splices))


def _renaming(passage: Passage, data: bytes | mmap.mmap) -> tuple[Splice, ...]:
    asked, model = passage.facts.model, passage.call.sent_model
    assert asked is not None
    assert model is not None
    return rename_model(data, passage.head.content_type, asked, model)


def _decoded(passage: Passage, raw: bytes | mmap.mmap) -> bytes:
    """A compressed body in plain: what it says could be read, so it can be decoded."""
    decoded = decode_all(bytes(raw), passage.head.content_encoding, MAX_READABLE)
    assert decoded is not None
    return decoded


def _may_ask_for_usage(passage: Passage) -> bool:
    """Whether this is a stream of a kind that tells its usage only when it is asked to."""
    return (
        bool(passage.facts.stream)
        and passage.call.dialect == "openai"
        and passage.operation.name in ("chat", "completion")
        and passage.upstream.adds_usage
    )
