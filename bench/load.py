"""The load: raw connections that ask again as soon as they are answered."""

from __future__ import annotations

import asyncio
import time

_BODY = b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"' + b"x" * 400 + b'"}]%s}'
PLAIN = _BODY % b""
STREAM = _BODY % b',"stream":true,"stream_options":{"include_usage":true}'


def request(body: bytes) -> bytes:
    """One chat call as bytes."""
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        b"Authorization: Bearer x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    )


async def calls(port: int, body: bytes, connections: int, total: int) -> float:
    """Seconds that `total` calls take over so many connections."""
    waiting = iter(range(total))
    message = request(body)

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in waiting:
            writer.write(message)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            at = head.lower().find(b"content-length:")
            if at != -1:
                await reader.readexactly(int(head[at + 15 :].split(b"\r\n", 1)[0]))
            else:
                await reader.readuntil(b"0\r\n\r\n")
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(connections)))
    return time.perf_counter() - began
