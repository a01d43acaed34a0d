"""The middleware `trace`: one JSON file a call, the oldest deleted when there are too many, too large or too old."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from llmqd.middleware.sighting import Asked, Sighting

_DEEPEST = 100
_CHUNKS = 100
"""Pieces of a stream that are kept one by one; `body` has all of them together."""


class Trace:
    """Writes `trace-2026-11-28T06-24-41-123Z-ID.json` into `directory` (mode 0700, files 0600).

    Bodies above `max_body_size` bytes are null. All files together have at most `max_size` bytes, and none is older
    than `max_age` seconds; 0 is no bound. Files of earlier runs count. `wall` is Unix time.
    """

    def __init__(
        self,
        directory: Path,
        *,
        include_headers: bool = True,
        include_body: bool = True,
        max_body_size: int = 1 << 20,
        max_size: int = 1 << 30,
        max_age: float = 0.0,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._directory = directory
        self._headers = include_headers
        self._body = include_body
        self._max_body = max_body_size
        self._max_size = max_size
        self._max_age = max_age
        self._wall = wall
        self._files: deque[tuple[Path, int, float]] | None = None
        self.size = 0
        """Bytes of all files."""

    def request(self, asked: Asked) -> None:
        """A file is written when the answer has ended."""

    def response(self, sighting: Sighting) -> None:
        """Writes the file of one call. Raises OSError where that is not possible; nothing half is left behind."""
        files = self._known()
        data = _written(self.document(sighting))
        asked = sighting.asked
        at = datetime.fromtimestamp(asked.at, UTC)
        stamp = f"{at:%Y-%m-%dT%H-%M-%S}-{at.microsecond // 1000:03d}Z"
        path = self._directory / f"trace-{stamp}-{asked.id}.json"
        self._make_room(len(data))
        written = path.with_suffix(".part")
        try:
            with os.fdopen(os.open(written, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(data)
            written.rename(path)
        except BaseException:
            written.unlink(missing_ok=True)
            raise
        files.append((path, len(data), self._wall()))
        self.size += len(data)

    def close(self) -> None:
        """Nothing is held open."""

    def document(self, sighting: Sighting) -> dict[str, Any]:
        """What stands in the file."""
        asked, answered = sighting.asked, sighting.answered
        at = datetime.fromtimestamp(asked.at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        whole = answered.whole and answered.size <= self._max_body
        return {
            "timestamp": at,
            "request": {
                "method": asked.method,
                "url": asked.url,
                "headers": _named(asked.headers) if self._headers else {},
                "body": self._shown(asked.body)
                if asked.body is not None and len(asked.body) <= self._max_body
                else None,
                "query_params": _named(asked.query),
            },
            "response": {
                "status_code": answered.status,
                "headers": _named(answered.headers) if self._headers else {},
                "body": self._shown(answered.body) if whole and answered.chunks else None,
                "chunks": self._chunks(answered.chunks) if answered.streaming and self._body else [],
                "is_streaming": answered.streaming,
            },
            "duration_ms": answered.duration_ms,
            "trace_id": asked.id,
            "session_id": asked.session,
            "upstream": asked.upstream,
            "model": asked.model,
            "client_left": answered.left,
        }

    def _shown(self, body: bytes) -> Any:
        """JSON as JSON, anything else as text."""
        if not self._body:
            return None
        try:
            return orjson.loads(body)
        except ValueError:
            return body.decode("utf-8", "replace")

    def _chunks(self, chunks: tuple[bytes, ...]) -> list[str]:
        return [chunk.decode("utf-8", "replace") for chunk in chunks[:_CHUNKS]]

    def _known(self) -> deque[tuple[Path, int, float]]:
        """The files that are there, the oldest first."""
        if self._files is None:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = []
            for path in sorted(self._directory.glob("trace-*.json")):
                status = path.stat()
                found.append((path, status.st_size, status.st_mtime))
            self._files = deque(found)
            self.size = sum(size for _, size, _ in found)
        return self._files

    def _make_room(self, size: int) -> None:
        files, now = self._known(), self._wall()
        while files:
            path, taken, at = files[0]
            too_much = self._max_size and self.size + size > self._max_size
            if not too_much and not (self._max_age and now - at > self._max_age):
                return
            files.popleft()
            self.size -= taken
            path.unlink(missing_ok=True)


def _written(document: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(document, option=orjson.OPT_INDENT_2)
    except TypeError:
        return orjson.dumps(_plain(document, _DEEPEST), option=orjson.OPT_INDENT_2)


def _plain(value: Any, depth: int) -> Any:
    """The same without what JSON cannot hold: text that is not UTF-8, nesting deeper than can be written."""
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case dict() | list() if not depth:
            return "[nested too deeply]"
        case dict():
            return {_plain(name, 0): _plain(item, depth - 1) for name, item in value.items()}
        case list():
            return [_plain(item, depth - 1) for item in value]
        case _:
            return value


def _named(pairs: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """As one object; what comes several times is joined by commas (RFC 9110 section 5.3)."""
    named: dict[str, str] = {}
    for name, value in pairs:
        named[name] = f"{named[name]}, {value}" if name in named else value
    return named
