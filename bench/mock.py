"""A fast mock upstream: raw asyncio, canned bytes, several times quicker than anything measured with it."""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

BODY = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"gpt-4o-mini","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"' + b"word " * 60 + b'"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":20,"completion_tokens":60,"total_tokens":80}}'
)
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKS = 200


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _event(delta: bytes, usage: bytes = b"") -> bytes:
    return (
        b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-4o-mini",'
        b'"system_fingerprint":"fp_44709d6fcb","choices":[' + delta + b"]" + usage + b"}\n\n"
    )


DELTA = _chunk(
    _event(b'{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}', b',"usage":null')
)
TAIL = _chunk(_event(b"", b',"usage":{"prompt_tokens":20,"completion_tokens":200,"total_tokens":220}'))
END = _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


class Mock(asyncio.Protocol):
    """Answers every request on a connection; reads no more of it than where it ends."""

    def __init__(self) -> None:
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own type is no subclass of it

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (head_end := self._data.find(b"\r\n\r\n")) != -1:
            head = self._data[:head_end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at != -1 else 0
            if len(self._data) < head_end + 4 + length:
                return
            body = self._data[head_end + 4 : head_end + 4 + length]
            self._data = self._data[head_end + 4 + length :]
            if b'"stream":true' in body:
                asyncio.get_running_loop().create_task(self._stream())
            else:
                self._transport.write(PLAIN)

    async def _stream(self) -> None:
        self._transport.write(STREAM_HEAD)
        for _ in range(CHUNKS):
            self._transport.write(DELTA)
            await asyncio.sleep(0)
        self._transport.write(TAIL + END)


async def main() -> None:
    """Says its port on standard output and serves until it is killed."""
    server = await asyncio.get_running_loop().create_server(Mock, "127.0.0.1", 0, backlog=4096)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
