"""What a call costs beside the way: its session, its texts, its record, the journal and the database, in CPU time.

    python -m bench.beside [--calls 3000] [--rate 400]

Calls are begun and ended at a steady rate in one process with no network: what the parts of the daemon take that no
byte of the answer passes through. Each part is the CPU time of the event loop's thread, `in all` that of the process,
other threads and the kernel's work for it included, less what an idle loop takes at that rate.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import uvloop

from bench import load, mock
from llmqd.call import Call, Outcome, Record, new_call_id
from llmqd.config.model import Config
from llmqd.conversations import Conversations
from llmqd.detection.detector import Detector
from llmqd.events.bus import EventBus
from llmqd.messages.digest import Digests
from llmqd.metrics import Metrics
from llmqd.prices import Prices
from llmqd.recorder import Recorder
from llmqd.store.ledger import Ledger
from llmqd.store.names_redaction import NamesRedaction
from llmqd.store.redaction import Redaction
from llmqd.store.transcripts import Transcripts
from llmqd.tap.capture import Captured
from llmqd.tap.tap import Reading
from llmqd.usage import Usage

Bodies = Iterator[tuple[dict[str, Any], bytes]]
"""Parsed bodies of requests, each with the bytes of its answer."""


def small() -> Bodies:
    """Every call the first of its conversation, of some 460 bytes, with the same answer."""
    body = load.PLAIN.replace(b"@@@@@@@@", b"%08d")
    number = 10_000_000
    while True:
        number += 1
        yield orjson.loads(body % number), mock.BODY


def long(messages: int = 20, characters: int = 1000) -> Bodies:
    """Conversations that go on, with so many messages of so many characters in their histories, in the mean."""
    noise = random.Random(1)

    def text() -> str:
        return "".join(noise.choices("abcdefgh ", k=characters))

    said = [text() for _ in range(200)]
    system = {"role": "system", "content": text()}
    going: list[list[dict[str, str]]] = [[] for _ in range(50)]
    number = 0
    while True:
        number += 1
        history = going[noise.randrange(len(going))]
        history.append({"role": "user", "content": f"{number} {noise.choice(said)}"})
        answer = f"{number} {noise.choice(said)}"
        fields = {"model": "gpt-4o-mini", "messages": [system, *history]}
        yield (
            orjson.loads(orjson.dumps(fields)),
            mock.BODY.replace(b"word " * 60, answer.encode()),
        )
        history.append({"role": "assistant", "content": answer})
        if len(history) >= 2 * messages:
            history.clear()


class Parts:
    """Everything beside the way, wired as the daemon does."""

    def __init__(self, directory: Path) -> None:
        config = Config()
        digests = Digests(b"benchbenchbenchb", 8 * config.sessions.max)
        redaction = Redaction(own=["sk-own-key-of-the-bench-1"])
        self._transcripts = Transcripts(config.store, redaction, digests)
        self.ledger = Ledger(config.store, directory, transcripts=self._transcripts)
        detector = Detector(config.sessions, digests, lambda: f"ses_{new_call_id(time.time())}")
        self.conversations = Conversations(config, detector, self._transcripts, self.ledger, wall=time.time)
        bus = EventBus(wall=time.time)
        self.recorder = Recorder(
            self.ledger,
            Prices(config.prices),
            Metrics(),
            NamesRedaction(redaction, digests),
            clock=time.monotonic,
            announce=bus.publish,
        )
        self.spent: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        began = time.thread_time()
        yield
        self.spent[part] += time.thread_time() - began

    async def call(self, fields: dict[str, Any], answer: bytes) -> None:
        """One call, from its parsed body to its end."""
        now = time.time()
        call = Call(
            id=new_call_id(now),
            received_at=now,
            arrived=time.monotonic(),
            method="POST",
            path="/v1/chat/completions",
            dialect="openai",
            operation="chat",
            upstream="openai",
            model=fields["model"],
            client="127.0.0.1",
            request_bytes=460,
            text_bytes=460,
        )
        usage = Usage(input=20, output=60, source="exact")
        reading = Reading(usage, "gpt-4o-mini", "chatcmpl-1", "stop", None, 0)
        with self._timed("session and texts of the request"):
            conversation = await self.conversations.begin(call, fields, "")
        record = Record(call, Outcome(lane="openai/default", queued_ms=0.1, sent_ms=0.2, counted=True, attempts=1))
        with self._timed("record opened"):
            self.recorder.open(record)
        assert conversation is not None
        record.outcome.http_status, record.outcome.first_byte_ms, record.outcome.response_bytes = 200, 1.0, len(answer)
        with self._timed("session and texts of the answer"):
            self.conversations.end(conversation, record, Captured(answer, False), "application/json", complete=True)
        with self._timed("record closed"):
            self.recorder.close(record, "done", reading, provider="openai")


async def _steadily(each: Callable[[], Any], calls: int, rate: int) -> float:
    """CPU seconds of the process while something is done so often at that rate, to the end of what it left behind."""
    spent, began = time.process_time(), time.perf_counter()
    for number in range(calls):
        if number % 8 == 0:
            await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
        done = each()
        if done is not None:
            await done
    return time.process_time() - spent


async def cost(bodies: Bodies, calls: int, rate: int) -> dict[str, float]:
    """Microseconds a call by part, and `in all`."""
    with tempfile.TemporaryDirectory(prefix="llmqd-bench-") as directory:
        parts = Parts(Path(directory))
        async with parts.ledger:
            await parts.conversations.recall()
            for _ in range(500):
                await parts.call(*next(bodies))
            await parts.ledger.settled(60)
            parts.spent.clear()
            made = [next(bodies) for _ in range(calls)]
            following = iter(made)
            idle = await _steadily(lambda: None, calls, rate)
            spent = await _steadily(lambda: parts.call(*next(following)), calls, rate)
            before = time.process_time()
            await parts.ledger.settled(60)
            spent += time.process_time() - before
        figures = {part: seconds / calls * 1e6 for part, seconds in parts.spent.items()}
        return figures | {"in all": (spent - idle) / calls * 1e6}


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=3000)
    parser.add_argument("--rate", type=int, default=400)
    parser.add_argument("--only", choices=("small", "long"))
    options = parser.parse_args()
    for name, bodies, calls in (("small", small(), options.calls), ("long", long(), options.calls // 2)):
        if options.only in (None, name):
            print(f"{name} bodies, {options.rate} calls a second, microseconds of CPU a call")
            for part, took in uvloop.run(cost(bodies, calls, options.rate)).items():
                print(f"  {part:<36}{took:8.1f}")


if __name__ == "__main__":
    main()
