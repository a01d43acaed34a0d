"""What a transcript in the journal comes to: rows for the tables of texts, nodes and marks."""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any

import msgspec
import orjson

from llmqd.messages.message import Media, Message, Part, ToolResult
from llmqd.messages.transcript import Mark, Place, Transcript

SPOKEN_COLUMNS = ("messages", "tip", "answer", "system")
"""Columns of `calls` that say what was said in it."""

_KEY_BYTES = 8
_MEDIA = b'"kind":"media"'
_decode = msgspec.json.Decoder(Message).decode
_encode = msgspec.json.Encoder().encode


class Spoken(msgspec.Struct, frozen=True, gc=False):
    """What one call adds. `row` holds the values of SPOKEN_COLUMNS, `texts` what is to be packed, by key: messages as
    JSON, and below 0 the bytes of media. `session` is whose the nodes are, None for nobody's."""

    at: float
    session: str | None
    row: tuple[int | None, int | None, int | None, bytes | None]
    nodes: tuple[Place, ...]
    texts: dict[int, bytes]
    marks: tuple[Mark, ...]


NOTHING_SAID: tuple[None, None, None, None] = (None, None, None, None)


def spoken(data: Mapping[str, Any] | None) -> Spoken | None:
    """What a transcript says that was read as JSON. Raises KeyError, TypeError, ValueError where it is none."""
    if data is None:
        return None
    texts: dict[int, bytes] = {}
    for key, message in data["texts"]:
        content = orjson.dumps(message)
        texts[key] = _apart(content, texts) if _MEDIA in content else content
    return Spoken(
        at=data["at"],
        session=data["session"],
        row=(data["messages"], data["tip"], data["answer"], _packed(data["system"])),
        nodes=tuple((key, parent, text, place) for key, parent, text, place in data["nodes"]),
        texts=texts,
        marks=tuple((mark, session, at) for mark, session, at in data["marks"]),
    )


def spoken_in(said: Transcript) -> Spoken | None:
    """The same of a transcript that is about to be written; None where the two may differ, or media take their time."""
    for content in said.texts.values():
        if _MEDIA in content:
            return None
    for _, session, _ in said.marks:
        if not session.isascii():
            return None
    return Spoken(
        said.at,
        said.session,
        (said.messages, said.tip, said.answer, _packed(said.system)),
        tuple(said.nodes),
        said.texts,
        tuple(said.marks),
    )


def _packed(keys: Iterable[int]) -> bytes | None:
    return b"".join([key.to_bytes(_KEY_BYTES, "big", signed=True) for key in keys]) or None


def system_keys(packed: bytes | None) -> list[int]:
    """The keys in the column `system`."""
    packed = packed or b""
    return [
        int.from_bytes(packed[at : at + _KEY_BYTES], "big", signed=True) for at in range(0, len(packed), _KEY_BYTES)
    ]


def medium_key(digest: str) -> int | None:
    """The key under which the bytes of a medium stand, from Media.digest; None for what is no such digest."""
    try:
        return -int(digest, 16) or None
    except ValueError:
        return None


def _apart(content: bytes, texts: dict[int, bytes]) -> bytes:
    """The message without the bytes of its media, which go to `texts` under their own keys."""
    message = _decode(content)
    return _encode(Message(message.role, tuple(_without_bytes(part, texts) for part in message.parts), message.name))


def _without_bytes(part: Part, texts: dict[int, bytes]) -> Part:
    if isinstance(part, ToolResult) and part.media:
        return msgspec.structs.replace(part, media=tuple(_of_medium(one, texts) for one in part.media))
    return _of_medium(part, texts) if isinstance(part, Media) else part


def _of_medium(medium: Media, texts: dict[int, bytes]) -> Media:
    if medium.data is None:
        return medium
    content = _bytes_of(medium.data)
    if content is None:
        return msgspec.structs.replace(medium, data=None)
    number = (int.from_bytes(blake2b(content, digest_size=_KEY_BYTES).digest(), "big") >> 1) or 1
    texts[-number] = content
    return msgspec.structs.replace(medium, data=None, size=len(content), digest=f"{number:016x}")


def _bytes_of(data: str) -> bytes | None:
    """What a base64 text stands for, in either alphabet (RFC 4648) and without padding too; None for other text."""
    plain = data.translate({ord("-"): "+", ord("_"): "/"}).rstrip("= \r\n")
    try:
        return binascii.a2b_base64(plain + "=" * (-len("".join(plain.split())) % 4))
    except (binascii.Error, ValueError):
        return None
