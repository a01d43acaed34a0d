"""Makes conversations and records them through the store's own writer; by itself, fills a database with them.

    python -m bench.conversations DIRECTORY [--calls 1000000]

Each conversation has 20 turns, each turn sends the whole history again, messages have some 500 B to 2 KB, and some two
hundred conversations are under way at the same time; where few calls are spread over many days, so few that a turn
follows the one before within minutes all the same. Everything between a parsed body and the journal is the daemon's.
"""

from __future__ import annotations

import argparse
import asyncio
import pydoc_data.topics
import random
import secrets
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from llmqd.call import Call, Outcome, Record, SessionRef, new_call_id
from llmqd.config.sessions import Sessions
from llmqd.config.store import Store
from llmqd.detection.assignment import Question
from llmqd.detection.detector import Detector
from llmqd.messages.digest import Digests
from llmqd.messages.message import Message, Text
from llmqd.messages.request import read_request
from llmqd.store.ledger import Ledger
from llmqd.store.redaction import Redaction
from llmqd.store.transcripts import Transcripts
from llmqd.usage import Cost, Usage

TURNS = 20
_AT_ONCE = 200
_TURN_EVERY = 600.0
"""Seconds from one turn of a conversation to the next, in the mean, where calls are spread over days."""
_KEPT_FOR = 7 * 86_400.0
"""Nobody looks into the database here, so memory has to know a conversation until its last turn."""
_AHEAD = 8000
"""Records that may wait for the database: making them and keeping them at the same time is slower, in one process."""
_SENTENCES = 30_000
_ENVELOPE = 160
"""Bytes of a request body around its messages: model, settings, brackets."""
_ANSWER_ENVELOPE = 420
_MODELS = ("gpt-4o-mini", "gpt-4o", "claude-sonnet-4-5", "gemini-2.5-flash", "o4-mini")
_AGENTS = ("writer", "coder", "researcher", "reviewer", None)


class Prose:
    """Text that reads like documentation and compresses like it, by a chain of words learned from Python's own."""

    def __init__(self, noise: random.Random) -> None:
        self._noise = noise
        chain: dict[tuple[str, str], list[str]] = {}
        words = " ".join(pydoc_data.topics.topics.values()).split()
        for one, two, three in zip(words, words[1:], words[2:], strict=False):
            chain.setdefault((one, two), []).append(three)
        starts = list(chain)
        self._sentences = [self._sentence(chain, starts) for _ in range(_SENTENCES)]

    def _sentence(self, chain: dict[tuple[str, str], list[str]], starts: list[tuple[str, str]]) -> str:
        pair = self._noise.choice(starts)
        words = list(pair)
        for _ in range(self._noise.randint(6, 30)):
            following = chain.get(pair)
            if following is None:
                break
            pair = (pair[1], self._noise.choice(following))
            words.append(pair[1])
        return " ".join(words)

    def message(self) -> str:
        """Some 500 B to 2 KB, 1.2 KB in the mean."""
        wanted = self._noise.randint(500, 1900)
        sentences: list[str] = []
        length = 0
        while length < wanted:
            sentence = self._noise.choice(self._sentences)
            sentences.append(sentence)
            length += len(sentence) + 2
        return ". ".join(sentences)


@dataclass(slots=True)
class Conversation:
    """One that is under way: what its next request sends, and how many bytes that is."""

    scope: str
    model: str
    agent: str | None
    history: list[dict[str, str]] = field(default_factory=list)
    size: int = _ENVELOPE

    def add(self, role: str, text: str) -> None:
        """A message more."""
        self.history.append({"role": role, "content": text})
        self.size += len(text.encode()) + 32


@dataclass(slots=True)
class Turn:
    """One call before it is made."""

    conversation: Conversation
    reply: str
    raw_bytes: int


class Traffic:
    """Conversations at random, as many as wanted, each call once. `seed` makes the same ones again."""

    def __init__(self, seed: int = 1) -> None:
        self._noise = random.Random(seed)
        self._prose = Prose(self._noise)
        self._systems = [self._prose.message() for _ in range(50)]

    def turns(self, calls: int, at_once: int = _AT_ONCE) -> Iterator[Turn]:
        """So many calls, of so many conversations at a time. The reply is added to the history when the next one is
        asked for."""
        going: list[Conversation] = []
        begun = 0
        for _ in range(calls):
            if len(going) < at_once and begun * TURNS < calls:
                going.append(self._conversation())
                begun += 1
            place = self._noise.randrange(len(going))
            conversation = going[place]
            conversation.add("user", self._prose.message())
            reply = self._prose.message()
            yield Turn(conversation, reply, conversation.size + len(reply.encode()) + _ANSWER_ENVELOPE)
            conversation.add("assistant", reply)
            if len(conversation.history) > 2 * TURNS:
                going[place] = going[-1]
                going.pop()

    def _conversation(self) -> Conversation:
        noise = self._noise
        conversation = Conversation(f"key-{noise.randrange(20)}", noise.choice(_MODELS), noise.choice(_AGENTS))
        conversation.add("system", noise.choice(self._systems))
        return conversation


class Sink(Protocol):
    """What takes the records."""

    def opened(self, record: Record) -> None: ...

    def closed(self, record: Record) -> None: ...


class Recording:
    """Turns into records of a ledger, or of another sink. `text_seconds` and `detection_seconds` add up what texts and
    detection take on the way of the calls. In `bulk` only the ends of calls are told, as an import does it. `at` is the
    time that it is for the ledger, in Unix seconds; None for the clock's."""

    def __init__(self, directory: Path, settings: Store | None = None, *, bulk: bool = False) -> None:
        digests = Digests(b"benchbenchbenchb", 100_000)
        self.settings = settings or Store()
        self._detector = Detector(Sessions(max=50_000, ttl=_KEPT_FOR), digests, lambda: secrets.token_hex(10))
        self.transcripts = Transcripts(self.settings, Redaction(own=["sk-own-key-of-the-bench-1"]), digests)
        self.ledger = Ledger(self.settings, directory, transcripts=self.transcripts, wall=self._wall)
        self._sink: Sink = self.ledger
        self._noise = random.Random(2)
        self._bulk = bulk
        self.at: float | None = None
        self.calls = 0
        self.raw_bytes = 0
        self.text_seconds = 0.0
        self.detection_seconds = 0.0

    def _wall(self) -> float:
        return time.time() if self.at is None else self.at

    def into(self, sink: Sink) -> None:
        """From now on records go there, not into the ledger."""
        self._sink = sink

    def record(self, turn: Turn) -> None:
        """One call, begun and ended."""
        now = self._wall()
        conversation = turn.conversation
        record = self._record(turn, now)
        body: dict[str, Any] = {"model": conversation.model, "messages": conversation.history}
        began = time.perf_counter()
        said = read_request("openai", "chat", body)
        assignment = self._detector.assign(Question(conversation.scope, said), now, look_up=False)
        record.call.session = SessionRef(assignment.session, assignment.source)
        assigned = time.perf_counter()
        transcript = record.transcript = self.transcripts.asked(record.call, said, assignment, now)
        asked = time.perf_counter()
        if not self._bulk:
            self._sink.opened(record)
        begun = time.perf_counter()
        learned = self._detector.answered(assignment, Message("assistant", (Text(turn.reply),)), None, now)
        learned_at = time.perf_counter()
        if transcript is not None:
            self.transcripts.answered(transcript, assignment, learned, now)
        answered = time.perf_counter()
        if self._bulk:
            self.ledger.imported(record)
        else:
            self._sink.closed(record)
        self.detection_seconds += assigned - began + learned_at - begun
        self.text_seconds += asked - assigned + answered - learned_at
        self.calls += 1
        self.raw_bytes += turn.raw_bytes

    def _record(self, turn: Turn, now: float) -> Record:
        noise, conversation = self._noise, turn.conversation
        prompt, completion = conversation.size // 4, len(turn.reply) // 4
        call = Call(
            id=new_call_id(now),
            received_at=now,
            arrived=0.0,
            method="POST",
            path="/v1/chat/completions",
            dialect="openai",
            operation="chat",
            upstream="openai",
            model=conversation.model,
            stream=True,
            agent=conversation.agent,
            user=f"user-{noise.randrange(300)}",
            client=conversation.scope,
            request_bytes=conversation.size,
            text_bytes=conversation.size,
        )
        first = noise.lognormvariate(6, 0.6)
        outcome = Outcome(
            status="done",
            http_status=200,
            lane="openai/default",
            attempts=1,
            queued_ms=noise.random() * 20,
            sent_ms=20.0,
            counted=True,
            first_byte_ms=first,
            total_ms=first + completion * 12,
            response_bytes=len(turn.reply) + _ANSWER_ENVELOPE,
            response_model=conversation.model,
            provider_id=f"chatcmpl-{noise.getrandbits(120):x}",
            finish_reason="stop",
            usage=Usage(input=prompt, output=completion, cached=prompt // 2, source="exact"),
            cost=Cost(prompt * 150_000 + completion * 600_000, input=prompt * 150_000, output=completion * 600_000),
        )
        return Record(call, outcome)


async def fill(recording: Recording, calls: int, *, seed: int = 1, days: float = 0.0) -> float:
    """Records so many calls as fast as the database takes them; seconds until all are in it. With `days`, the calls are
    spread over so many days until now."""
    began = time.perf_counter()
    wall = time.time()
    at_once = min(max(round(calls / (days * 86_400) * _TURN_EVERY), 2), _AT_ONCE) if days else _AT_ONCE
    for number, turn in enumerate(Traffic(seed).turns(calls, at_once)):
        if days:
            recording.at = wall - days * 86_400 * (1 - number / calls)
        recording.record(turn)
        if number % 50 == 0:
            await asyncio.sleep(0)
            if recording.ledger.health().behind > _AHEAD:
                await recording.ledger.settled(60)
        if number % 5000 == 0 and sys.stderr.isatty():
            print(f"\r{number:,} of {calls:,} calls", end="", file=sys.stderr, flush=True)
    while not await recording.ledger.settled(60):
        pass
    return time.perf_counter() - began


async def _main(directory: Path, calls: int, days: float) -> None:
    recording = Recording(directory, Store(max_size=0, retention=0.0), bulk=True)
    async with recording.ledger:
        seconds = await fill(recording, calls, days=days)
    print(f"{recording.calls:,} calls of {recording.raw_bytes / 1e6:,.0f} MB in {seconds:.0f} s: {directory}/llmqd.db")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--days", type=float, default=30.0, help="the calls are spread over so many days until now")
    arguments = parser.parse_args()
    asyncio.run(_main(arguments.directory, arguments.calls, arguments.days))
