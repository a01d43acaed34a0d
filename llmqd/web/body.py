"""The body of a request: read once, kept in memory while small and on disk while large, and what it says."""

from __future__ import annotations

import asyncio
import mmap
import os
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO, Any, Self

import orjson
from aiohttp import StreamReader, web

from llmqd.errors import BodyTooLarge, CallRefused, QueueFull, RequestTimeout
from llmqd.lane.estimate import BodySize, measure
from llmqd.messages.lenient_json import loads, whole_characters
from llmqd.tap.decoding import decode_all
from llmqd.web.form import boundary_of, field_values
from llmqd.web.splice import Splice, pieces

_PIECE = 256 * 1024
_MAY_BE_JSON = ("application/json", "", "text/plain", "application/x-www-form-urlencoded")
"""What JSON is called; the last by `curl -d`, as Ollama's documentation has it."""
_MAX_FIELD = 256
"""Bytes of a form field's value that are looked at."""
MAX_MENDED = 4 * 1024 * 1024
"""Size up to which a JSON body is looked into that has halves of surrogate pairs."""
MAX_READABLE = 128 * 1024 * 1024
"""Decoded size up to which a compressed JSON body is looked into; providers take far less."""


class Body:
    """The bytes of one request body. A context manager: leaving it frees the spool file.

    `data` is everything when the body is small; `spool` an anonymous temporary file when it is not; both are None for
    a request without a body. `size` is in bytes.
    """

    __slots__ = ("_released", "_sending", "data", "size", "spool")

    def __init__(self, data: bytes | None = None, spool: IO[bytes] | None = None, size: int = 0) -> None:
        self.data = data
        self.spool = spool
        self.size = size
        self._sending = False
        self._released = False

    @property
    def content(self) -> bytes | AsyncIterable[bytes] | None:
        """What the upstream client sends; a spooled body can be iterated again."""
        return self.data if self.spool is None else self

    def view(self) -> AbstractContextManager[bytes | mmap.mmap]:
        """Everything at once to look at; a spooled body is mapped, not loaded."""
        return nullcontext(self.data or b"") if self.spool is None else self._mapped()

    @contextmanager
    def _mapped(self) -> Iterator[mmap.mmap]:
        assert self.spool is not None
        self.spool.flush()
        with mmap.mmap(self.spool.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            yield mapped

    def release(self) -> None:
        """Lets go of the bytes as soon as they are sent; a long answer must not keep its question."""
        self._released = True
        self.data = None
        if self.spool is not None and not self._sending:
            self.spool.close()

    def close(self) -> None:
        """Lets go of the bytes now."""
        self.data = None
        if self.spool is not None:
            self.spool.close()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self.with_splices(())

    async def with_splices(self, splices: Sequence[Splice]) -> AsyncIterator[bytes]:
        """A spooled body with some stretches replaced, piece by piece; can be asked for again."""
        assert self.spool is not None
        self.spool.flush()
        self._sending = True
        for part in pieces(self.size, splices):
            if isinstance(part, bytes):
                yield part
                continue
            offset = part.start
            while piece := os.pread(self.spool.fileno(), min(_PIECE, part.stop - offset), offset):
                offset += len(piece)
                yield piece
        self._sending = False
        if self._released:  # the upstream has answered before it had read everything
            self.spool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def check_length(request: web.BaseRequest, max_body: int) -> None:
    """Raises BodyTooLarge when the announced length is beyond the limit; 0 means no limit."""
    if max_body and (request.content_length or 0) > max_body:
        raise BodyTooLarge(f"the body has {request.content_length} bytes; [server] max_body is {max_body}")


def received(request: web.BaseRequest, *, max_body: int, spool_above: int) -> Body | None:
    """A body that has come whole, together with its head, as nearly all do; None for one that has to be waited for or
    goes into a file, which `receive` does. The caller must close what it gets. Raises BodyTooLarge.
    """
    content = request.content
    if not content.is_eof() or content.total_bytes > spool_above:
        return None
    data = content.read_nowait()
    if max_body and len(data) > max_body:
        check_length(request, max_body)
        raise _too_large(max_body)
    return Body(data, None, len(data)) if data else Body()


async def receive(
    request: web.BaseRequest,
    *,
    max_body: int,
    spool_above: int,
    directory: Path | None = None,
    silence: float = 0.0,
) -> Body:
    """Reads a request body whole; the caller must close what it gets. Large ones go into a file in `directory`.

    Raises BodyTooLarge, RequestTimeout after `silence` seconds (0: never) without a byte, and QueueFull where there is
    no room for the file.
    """
    check_length(request, max_body)
    if not request.can_read_body:
        return Body()
    pieces: list[bytes] = []
    spool: IO[bytes] | None = None
    size = 0
    try:
        while piece := await _next_piece(request.content, silence):
            size += len(piece)
            if max_body and size > max_body:
                raise _too_large(max_body)
            pieces.append(piece)
            if spool is None and size > spool_above:
                spool = _spool(directory)
            if spool is not None:
                _write(spool, pieces)
    except BaseException:
        if spool is not None:
            spool.close()
        raise
    if spool is not None:
        return Body(None, spool, size)
    return Body(pieces[0] if len(pieces) == 1 else b"".join(pieces), None, size)


def _too_large(max_body: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body has more than {max_body} bytes, which is [server] max_body")


async def _next_piece(content: StreamReader, silence: float) -> bytes:
    """What has come of the body; nothing at its end. Raises RequestTimeout."""
    piece = content.read_nowait()  # nearly every body has come together with its head
    while not piece and not content.at_eof():
        try:
            async with asyncio.timeout(silence or None):
                piece = await content.readany()
        except TimeoutError:
            raise RequestTimeout(
                f"nothing more of the request came for {silence:g} s, which is [server] client_timeout"
            ) from None
    return piece


SILENCE = web.AppKey("silence", float)
"""How long the application waits for the next byte of a body that is for llmqd itself, in seconds; 0: for ever."""


async def receive_own(request: web.Request) -> bytes:
    """The body of a request to one of llmqd's own URLs. Raises BodyTooLarge, RequestTimeout."""
    most, silence, data = request.client_max_size, request.app.get(SILENCE, 0.0), bytearray()
    while piece := await _next_piece(request.content, silence):
        data += piece
        if len(data) > most:
            raise BodyTooLarge(f"the body is too large: this URL takes {most} bytes")
    return bytes(data)


def _spool(directory: Path | None) -> IO[bytes]:
    try:
        place = directory if directory is not None and directory.is_dir() else None
        return TemporaryFile(prefix="llmqd-body-", dir=place, buffering=0)
    except OSError as error:
        raise _no_room(error) from error


def _write(spool: IO[bytes], pieces: list[bytes]) -> None:
    """Moves the pieces into the file; the system may take less than it is given when the disk is nearly full."""
    try:
        for piece in pieces:
            rest = memoryview(piece)
            while rest:
                rest = rest[spool.write(rest) :]
    except OSError as error:
        raise _no_room(error) from error
    pieces.clear()


def _no_room(error: OSError) -> QueueFull:
    return QueueFull(f"there is no room on disk for a body that has to wait: {error.strerror or error}", retry_after=1)


class Passing:
    """A request body that goes upstream as it arrives, for calls that need not wait. Iterable once.

    `refusal` is set when the body turned out to be larger than `max_body`, or its client was silent for `silence`
    seconds; the iteration then raises it.
    """

    def __init__(self, request: web.BaseRequest, *, max_body: int, silence: float = 0.0) -> None:
        check_length(request, max_body)
        self._request = request
        self._max_body = max_body
        self._silence = silence
        self.size = 0
        self.refusal: CallRefused | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while piece := await _next_piece(self._request.content, self._silence):
                self.size += len(piece)
                if self._max_body and self.size > self._max_body:
                    raise _too_large(self._max_body)
                yield piece
        except CallRefused as refusal:
            self.refusal = refusal
            raise


KEPT_FIELDS = ("conversation", "labels", "metadata", "prompt_cache_key", "safety_identifier", "tags", "user")
"""Small fields of a JSON body that are looked at later; messages are not kept, they can be megabytes."""
_KEPT = frozenset(KEPT_FIELDS)
_LONGEST = ("max_completion_tokens", "max_tokens", "max_output_tokens")
_LONGEST_WITHIN = {
    "generationConfig": ("maxOutputTokens", "max_output_tokens"),
    "generation_config": ("maxOutputTokens", "max_output_tokens"),
    "inferenceConfig": ("maxTokens",),
    "options": ("num_predict",),
}
"""Where a request says how long its answer may be."""
_SAYING_HOW_LONG = frozenset({*_LONGEST, *_LONGEST_WITHIN})


@dataclass(slots=True)
class Facts:
    """What a request body says that llmqd needs; nothing of it is ever written back."""

    model: str | None = None
    stream: bool | None = None
    """Whether a stream is asked for; None where the request does not say."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Those of KEPT_FIELDS that the body has."""
    size: BodySize = field(default=BodySize(0))
    max_tokens: int | None = None
    """The longest answer that the request allows; None where it does not say."""
    choices: int = 1
    json: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)
    """The whole body, where it is a JSON object: only to be looked into, not to be kept while the call waits."""

    def let_go(self) -> Mapping[str, Any] | None:
        """Gives the whole body away, and keeps it no longer."""
        json, self.json = self.json, None
        return json


NO_FACTS = Facts()


def read_facts(body: Body, content_type: str, content_encoding: str) -> Facts:
    """Looks into a JSON or multipart body. What can't be read gives no facts: the upstream judges bodies, not llmqd."""
    if not body.size:
        return NO_FACTS
    media = content_type.partition(";")[0].strip().lower()
    if media in _MAY_BE_JSON or media.endswith("+json"):
        if body.data is not None:
            return _json_facts(body.data, content_encoding)
        with body.view() as data:
            return _json_facts(data, content_encoding)
    if media.startswith("multipart/"):
        boundary = boundary_of(content_type)
        with body.view() as data:
            stream = _form_field(data, boundary, b"stream")
            return Facts(_form_field(data, boundary, b"model"), None if stream is None else stream == "true")
    return NO_FACTS


def _json_facts(data: bytes | mmap.mmap, content_encoding: str) -> Facts:
    if content_encoding:
        decoded = decode_all(bytes(data), content_encoding, MAX_READABLE)
        if decoded is None:
            return NO_FACTS
        data = decoded
    fields = _parsed(data)
    if not isinstance(fields, dict):
        return NO_FACTS
    model, stream = fields.get("model"), fields.get("stream")
    return Facts(
        model if isinstance(model, str) else None,
        None if stream is None else stream is True,
        {} if _KEPT.isdisjoint(fields) else {name: fields[name] for name in KEPT_FIELDS if name in fields},
        measure(data),
        None if _SAYING_HOW_LONG.isdisjoint(fields) else _max_tokens(fields),
        max(_count(fields["n"]) or 1, 1) if "n" in fields else 1,
        fields,
    )


def _parsed(data: bytes | mmap.mmap) -> Any:
    """The JSON value; None where it is none. Halves of surrogate pairs, as in text cut by JavaScript, are replaced."""
    try:
        if isinstance(data, bytes):
            return orjson.loads(data)
        with memoryview(data) as view:
            return orjson.loads(view)
    except orjson.JSONDecodeError as error:
        if "surrogate" not in str(error) or len(data) > MAX_MENDED:
            return None
    return loads(whole_characters(bytes(data)))


def _max_tokens(fields: Mapping[str, Any]) -> int | None:
    """The longest answer allowed, as OpenAI, Anthropic, Gemini, Bedrock and Ollama write it."""
    named = [_count(fields.get(name)) for name in _LONGEST]
    for outer, inner in _LONGEST_WITHIN.items():
        options = fields.get(outer)
        if isinstance(options, dict):
            named += [_count(options.get(name)) for name in inner]
    return next((count for count in named if count is not None), None)


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31 else None


def _form_field(data: bytes | mmap.mmap, boundary: bytes, name: bytes) -> str | None:
    """The value of the first form field of that name."""
    for start, end in field_values(data, boundary, name):
        return data[start : min(end, start + _MAX_FIELD)].decode("utf-8", "replace").strip() or None
    return None
