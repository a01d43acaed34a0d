"""What hostile upstreams answer, by the name of the model that is asked for."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence

from tests.fake_upstream.script import Answer, Step, json_answer

_JSON = ("Content-Type", "application/json")
_EVENTS = ("Content-Type", "text/event-stream")
_USAGE = {"usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}


def _bomb(size: int) -> bytes:
    """JSON that unpacks to so many bytes; its checksum is wrong, but nobody should come so far."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    head = packer.compress(b'{"choices":[{"message":{"role":"assistant","content":"')
    head += packer.flush(zlib.Z_FULL_FLUSH)
    # After a full flush a block stands for itself: it can be repeated without being packed again.
    block = packer.compress(b"a" * (1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + block * (size >> 20) + packer.compress(b'"}}]}') + packer.flush()


def _raw(*steps: Step) -> Answer:
    return Answer(raw=True, body=steps)


def _endless(piece: bytes, count: int, pause: float = 0.0) -> Sequence[Step]:
    return [step for _ in range(count) for step in ((piece, pause) if pause else (piece,))]


_BOMB = _bomb(512 << 20)

HOSTILE: dict[str, Answer] = {
    "endless-headers": _raw(b"HTTP/1.1 200 OK\r\n", *_endless(b"X-More: " + b"a" * 1000 + b"\r\n", 3000)),
    "one-endless-header": _raw(b"HTTP/1.1 200 OK\r\nX-Large: ", *_endless(b"a" * 10_000, 300)),
    "bomb": Answer(headers=[_JSON, ("Content-Encoding", "gzip")], body=[_BOMB]),
    "bomb-of-events": Answer(
        headers=[_EVENTS, ("Content-Encoding", "gzip")],
        body=[gzip.compress(b"data: " + b"a" * (64 << 20) + b"\n\n")],
        framing="chunked",
    ),
    "endless-line": Answer(headers=[_EVENTS], body=_endless(b"data: " + b"a" * 60_000, 500), framing="chunked"),
    "endless-events": Answer(
        headers=[_EVENTS], body=_endless(b'data: {"choices":[]}\n\n', 400, 0.005), framing="chunked", end="hang"
    ),
    "no-utf-8": json_answer(_USAGE).but(
        body=[b'{"choices":[{"message":{"role":"assistant","content":"\xff\xfe\xc3("}}],"usage":{"prompt_tokens":1}}']
    ),
    "no-utf-8-events": Answer(
        headers=[_EVENTS], body=[b'data: {"choices":[{"delta":{"content":"\xff\xfe"}}]}\n\n'] * 5, framing="chunked"
    ),
    "says-too-much": json_answer(_USAGE).but(length=1000),
    "says-too-little": json_answer(_USAGE).but(length=10),
    "bad-length": _raw(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}"),
    "two-lengths": _raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
    "bad-chunk": _raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n"),
    "no-http": _raw(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "switches": _raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nhello"),
    "many-interim": _raw(*_endless(b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n", 2000)),
    "deep": json_answer(_USAGE).but(body=[b'{"a":' * 100_000]),
    "injects": json_answer(_USAGE, 200, ("X-Fine", "a"), ("X-LLMQD-Session-Id", "forged"), ("Set-Cookie", "a=b")),
    "large": Answer(headers=[_JSON], body=_endless(b" " * 65_536, 400), framing="chunked"),
}

ENDLESS = frozenset({"endless-events", "says-too-much"})
"""Those that end only when the client leaves."""
