"""`python -m tests.faults.fuzz`: broken bytes on raw sockets, of clients and of the upstream, against a real daemon."""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import tempfile
import time
from pathlib import Path

from llmqd.background import end
from tests.fake_upstream import FakeUpstream
from tests.fake_upstream.openai_answers import chat, chat_stream
from tests.fake_upstream.request import Received
from tests.fake_upstream.script import Answer
from tests.faults import attacks
from tests.process import LlmqdProcess
from tests.under_test import upstream_toml

_SILENCE = 1.0
"""`client_timeout`, so that what is half sent ends soon."""
_HUNG = 20.0
_AT_ONCE = 24

_ASKED = b'{"model":"gpt-4o","stream":%b,"messages":[{"role":"user","content":"hi"}],"n":1,"user":"u"}'
_JSON = b"Host: llmqd\r\nContent-Type: application/json\r\n"
_FORM = (
    b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    b'Content-Length: 83\r\n\r\n--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--b--\r\n'
)
_HANDSHAKE = (
    b"GET /v1/realtime?model=x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\x81\x85\x01\x02\x03\x04hello"
)
SEEDS = (
    *(
        b"POST %b HTTP/1.1\r\n" % path + _JSON + b"Content-Length: %d\r\n\r\n" % len(body) + body
        for path in (
            b"/v1/chat/completions",
            b"/v1/session/abc/chat/completions",
            b"/openai/v1/responses",
            b"/v1/messages",
            b"/v1beta/models/gemini-pro:streamGenerateContent?alt=sse",
            b"/openai/session/x/v1/embeddings",
        )
        for body in (_ASKED % b"true", _ASKED % b"false")
    ),
    b"POST /v1/chat/completions HTTP/1.1\r\n" + _JSON + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    _FORM,
    _HANDSHAKE,
    *(
        b"GET %b HTTP/1.1\r\nHost: a\r\nX-LLMQD-Priority: high\r\nX-LLMQD-Tags: a,b\r\nX-LLMQD-Deadline: 5\r\n"
        b"Authorization: Bearer sk-llmqd-abc\r\nAccept: application/json\r\n\r\n" % path
        for path in (
            b"/health",
            b"/metrics",
            b"/queue?limit=5&lane=openai",
            b"/api/v1/sessions?limit=10&cursor=WzEsImEiXQ",
            b"/api/v1/requests?from=2026-01-01T00:00:00Z&status=done",
            b"/api/v1/analytics/usage-trends?days=7&granularity=day&by=model",
            b"/api/v1/export?what=requests&format=csv&limit=3",
            b"/sessions/status?detail=1",
            b"/dashboard",
        )
    ),
    b"POST /api/v1/sessions/search HTTP/1.1\r\n" + _JSON + b'Content-Length: 14\r\n\r\n{"text": "hi"}',
    b"PATCH /queue/abc HTTP/1.1\r\n" + _JSON + b'Content-Length: 14\r\n\r\n{"priority":5}',
    *attacks.INJECTIONS,
    *attacks.SMUGGLING,
    *attacks.PATHS,
)
_PIECES = (
    b"\r\n", b"\n", b"\r", b"\0", b":", b" ", b"\t", b"%00", b"%", b"..", b"/", b"//", b"?", b"&", b"=", b",", b";",
    b"{", b"}", b"[" * 500, b'"', b"\\u0000", b"\\ud800", b"\xff", b"\xc3", b"\xe2\x82", b"NaN", b"1e999", b"-1", b"0",
    b"99999999999999999999", b"Transfer-Encoding: chunked\r\n", b"Content-Length: 5\r\n", b"Expect: 100-continue\r\n",
    b"Connection: close\r\n", b"Content-Encoding: gzip\r\n", b"X-LLMQD-Session: \xff\r\n", b"a" * 9000, b"HTTP/1.1",
    b"HTTP/0.9", b"data: ", b"[DONE]",
)  # fmt: skip


def mutated(seed: bytes, noise: random.Random) -> bytes:
    """One to eight changes: bits, bytes, pieces put in, parts taken out, doubled or exchanged."""
    data = bytearray(seed)
    for _ in range(noise.randint(1, 8)):
        at = noise.randrange(len(data) + 1)
        match noise.randrange(7):
            case 0 if data:
                data[at % len(data)] ^= 1 << noise.randrange(8)
            case 1 if data:
                data[at % len(data)] = noise.randrange(256)
            case 2:
                data[at:at] = noise.choice(_PIECES)
            case 3:
                del data[at : at + noise.randint(1, 40)]
            case 4:
                data[at:at] = data[at : at + noise.randint(1, 200)]
            case 5:
                other = noise.choice(SEEDS)
                cut = noise.randrange(len(other) + 1)
                data[at:] = other[cut:]
            case 6:
                data[at:at] = noise.randbytes(noise.randint(1, 20))
    return bytes(data)


class Fuzz:
    """Sends, and counts what came of it."""

    def __init__(self, process: LlmqdProcess, seed: int) -> None:
        self._process = process
        self._seed = seed
        self.sent = 0
        self.answered = 0
        self.wrong: list[str] = []
        self._stood_still = -_HUNG

    async def notice_stops(self) -> None:
        """Remembers when this process was not let run itself, and the daemon perhaps not either: nobody hangs then."""
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.5)
            if time.monotonic() - began > _HUNG / 4:
                self._stood_still = time.monotonic()

    async def client(self, number: int, until: float) -> None:
        """One client that goes on until then (monotonic)."""
        noise = random.Random(f"{self._seed} {number}")
        while time.monotonic() < until and len(self.wrong) < 5:
            await self._one(
                b"".join(mutated(noise.choice(SEEDS), noise) for _ in range(noise.choice((1, 1, 1, 3)))), noise
            )

    async def _one(self, data: bytes, noise: random.Random) -> None:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._process.port)
        except OSError as error:
            self.wrong.append(f"no connection: {error}")
            return
        answer = b""
        try:
            async with asyncio.timeout(_HUNG):
                cut = noise.randrange(len(data) + 1)
                writer.write(data[:cut])
                await asyncio.sleep(0)
                writer.write(data[cut:])
                if noise.random() < 0.5:
                    writer.write_eof()
                while piece := await reader.read(65536):
                    answer += piece
                    if len(answer) > 1 << 20 or (b" 200 OK" in answer and noise.random() < 0.3):
                        break
                    if b"event-stream" in answer or b"HTTP/1.1 101" in answer or answer.count(b"HTTP/1.1 ") > 0:
                        break  # it is kept open for the next request
        except TimeoutError:
            await asyncio.sleep(0.1)
            if time.monotonic() - self._stood_still > 2 * _HUNG:
                self.wrong.append(f"silent for {_HUNG:g} s: {data[:500]!r}")
        except OSError:
            pass
        finally:
            writer.transport.abort()
        self.sent += 1
        self.answered += bool(answer)
        if re.search(rb"HTTP/1\.[01] 500", answer) and b"internal_error" in answer:
            self.wrong.append(f"500 for {data[:500]!r}")


def upstream_answer(noise: random.Random) -> Answer:
    """A provider's answer with broken bytes, in its head or in its body."""
    whole = noise.choice((chat("gpt-4o"), chat_stream("gpt-4o", include_usage=True)))
    if noise.random() < 0.5:
        return Answer(raw=True, body=[mutated(whole.head() + whole.data, noise)])
    return whole.but(body=[mutated(step, noise) if isinstance(step, bytes) else step for step in whole.body])


async def fuzz(directory: Path, minutes: float, seed: int) -> Fuzz:
    """Runs for so long; raises where the daemon died or does not stop cleanly."""
    noise = random.Random(seed)

    def answer(_: Received) -> Answer:
        return upstream_answer(noise)

    async with FakeUpstream(answer, tolerant=True) as upstream:
        toml = upstream_toml("openai", upstream.url, 'learn = false\nretries = 0\ntimeout = "2s"')
        process = LlmqdProcess(directory, toml + '[[middleware]]\ntype = "trace"\nmax_size = "50MiB"\n')
        process.write(
            toml + '[[middleware]]\ntype = "trace"\nmax_size = "50MiB"\n', f'client_timeout = "{_SILENCE:g}s"'
        )
        await process.start()
        fuzzing = Fuzz(process, seed)
        until = time.monotonic() + 60 * minutes
        stops = asyncio.create_task(fuzzing.notice_stops())
        await asyncio.gather(*(fuzzing.client(number, until) for number in range(_AT_ONCE)))
        await end(stops)
        if not process.running:
            fuzzing.wrong.append("the daemon has died")
        elif await process.stop() != 0:
            fuzzing.wrong.append("it did not stop cleanly")
        log = process.log.read_text(errors="replace")
        fuzzing.wrong += [
            found[:2000] for found in re.findall(r"(?s)Traceback.{0,1500}|internal error.{0,500}", log)[:3]
        ]
    return fuzzing


def main() -> int:
    """1 where something crashed, hung, or was answered with a 500 of llmqd's own."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="the same bytes again")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="llmqd-fuzz-") as directory:
        done = asyncio.run(fuzz(Path(directory), args.minutes, args.seed))
    print(f"seed {args.seed}: {done.sent} sent, {done.answered} answered, {len(done.wrong)} wrong")
    for each in done.wrong:
        print(each)
    return int(bool(done.wrong))


if __name__ == "__main__":
    raise SystemExit(main())
