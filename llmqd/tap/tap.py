"""The tap: takes a copy of an answer's passing bytes and tells at the end what the call consumed."""

from __future__ import annotations

import logging

import msgspec

from llmqd.call import Dialect
from llmqd.messages.eventstream import EVENTSTREAM
from llmqd.providers.facts import Facts, Stage
from llmqd.tap.alike import Alike, Familiar
from llmqd.tap.capture import Capture, Captured
from llmqd.tap.decoding import Decoder
from llmqd.tap.frames import FrameSplitter
from llmqd.tap.reader import MessageReader
from llmqd.tap.sse import ArraySplitter, LineSplitter, Splitter, SseSplitter
from llmqd.usage import Source, Usage

logger = logging.getLogger(__name__)

_BYTES_PER_TOKEN = 4
"""English text in current tokenizers; the base of every estimate."""

_STREAM_LIMIT = 8
"""What is compressed may decode to so many times `max_body` in all."""

_END = 4096
"""So much of the end of a body is kept that is too large to be kept whole."""

_JSON_LINES = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl", "application/stream+json"})
_BOM = b"\xef\xbb\xbf"


class Reading(msgspec.Struct):
    """What an answer said about itself.

    `usage` is None where an answer carries none by nature (a model list, a file). `model`, `provider_id` and
    `finish_reason` are the provider's words. `error` is the kind (code or type) of an error that came inside an answer
    of status 200. `function_calls` is how many calls of tools it holds.
    """

    usage: Usage | None = None
    model: str | None = None
    provider_id: str | None = None
    finish_reason: str | None = None
    error: str | None = None
    function_calls: int = 0


class Tap:
    """Reads one answer as it goes by. `feed` is given a copy of every chunk and never raises.

    `dialect` is the first guess at the format, `content_type` and `content_encoding` are the answer's headers (empty
    where missing), `request_bytes` the size of the question, from which a missing input count is estimated. A plain
    JSON body is kept in memory up to `max_body` bytes, an event up to `max_event`; of what is larger nothing is read
    but the usage at the end of a body (embeddings of many texts, pictures). Of an answer that may be something said,
    the first `capture_max` bytes are kept for `captured`, none with 0.
    `received` counts the bytes; `faulty` becomes True when reading failed through a fault of llmqd itself.
    """

    def __init__(
        self,
        *,
        dialect: Dialect,
        content_type: str,
        content_encoding: str,
        request_bytes: int,
        max_body: int = 8 * 1024 * 1024,
        max_event: int = 4 * 1024 * 1024,
        capture_max: int = 0,
    ) -> None:
        self.received = 0
        self._reader = MessageReader(dialect)
        self._request_bytes = request_bytes
        self._max_body = max_body
        self._max_event = max_event
        self._body = bytearray()
        self._body_overflowed = False
        self.faulty = False
        self._reading: Reading | None = None
        media_type = content_type.partition(";")[0].strip().lower()
        self._splitter = _splitter(media_type, dialect, max_event)
        self._events = self._splitter if isinstance(self._splitter, SseSplitter) else None
        self._familiar = Familiar(max_event)
        self._undecided = self._splitter is None
        self._sniffing = media_type in ("", "text/plain")
        self._json = _is_json(media_type)
        self._ignoring = self._undecided and not (self._json or self._sniffing)
        self._capture: Capture | None = None
        if capture_max > 0 and not self._ignoring:
            self._capture = Capture(capture_max)
        self._decoder: Decoder | None = None
        if content_encoding and content_encoding.strip().lower() != "identity":
            self._decoder = Decoder(content_encoding, max_body * _STREAM_LIMIT)

    @property
    def finished(self) -> bool:
        """The answer's own end marker has been seen: whatever it reports is reported."""
        return self._reader.facts.finished

    def feed(self, chunk: bytes) -> None:
        """Take a copy of the next bytes of the answer's body, as they came from the upstream."""
        self.received += len(chunk)
        if self.faulty or self._ignoring:
            return
        try:
            if self._decoder is not None:
                chunk = self._decoder.feed(chunk)
            if self._events is not None:
                self._read_events(self._events, chunk, self._capture)
                return
            if self._capture is not None:
                self._capture.add(chunk)
            self._read(chunk)
        except Exception as error:
            # A fault in metering must not become a fault in passing on.
            self._failed(error)

    def close(self, *, complete: bool) -> Reading:
        """The answer has ended; `complete` says that the upstream ended it cleanly. Later calls return the same."""
        if self._reading is None:
            try:
                self._read_rest()
            except Exception as error:
                self._failed(error)
            self._body.clear()
            facts = self._reader.facts
            self._reading = Reading(
                self._usage(facts, complete),
                facts.model,
                facts.provider_id,
                facts.finish_reason,
                facts.error,
                facts.function_calls,
            )
        return self._reading

    def captured(self) -> Captured | None:
        """What was kept of the answer; None where nothing was to be. It is given away: a second time it is empty."""
        return self._capture.take(self._reader.plain) if self._capture is not None else None

    def _failed(self, error: Exception) -> None:
        """One line: whoever sends such answers may send thousands. The details are for those who look for them."""
        self.faulty = True
        logger.warning("an answer could not be metered: %r", error, exc_info=logger.isEnabledFor(logging.DEBUG))

    def _read_rest(self) -> None:
        if self.faulty:
            return
        if self._splitter is not None:
            for _, data in self._splitter.flush():
                self._reader.take(data)
        elif self._body_overflowed:
            self._reader.take_end(bytes(self._body))
        elif self._body:
            self._reader.take_body(bytes(self._body))

    def _read(self, chunk: bytes) -> None:
        if self._events is not None:
            self._read_events(self._events, chunk, None)
        elif self._splitter is not None:
            self._reader.take_all([data for _, data in self._splitter.feed(chunk)])
        elif self._undecided:
            self._decide(chunk)
        elif not self._ignoring:
            self._keep(chunk)

    def _read_events(self, splitter: SseSplitter, chunk: bytes, capture: Capture | None) -> None:
        """Those that are as one before but for their text are not even cut apart, and kept as one that says it all."""
        familiar = self._familiar
        while chunk:
            alike, text, chunk, rest = familiar.cut(chunk, between=splitter.between_events)
            if alike:
                self._reader.facts.text_bytes += len(text)
                if capture is not None:
                    capture.add(familiar.saying(text))
            if not chunk:
                return
            if capture is not None:
                capture.add(chunk)
            events = splitter.feed(chunk)
            self._reader.take_all([data for _, data in events])
            if events and familiar.learns:
                name, data = events[-1]
                text_at = self._reader.text_in(data)
                familiar.learn(None if text_at is None else Alike(name, data, *text_at))
            chunk = rest

    def _decide(self, chunk: bytes) -> None:
        """The first byte that is no white space tells how the body is built (a provider may send blank lines ahead)."""
        head = (bytes(self._body) + chunk).lstrip().removeprefix(_BOM).lstrip()
        self._body.clear()
        if _BOM.startswith(head):
            self._body += head
            return
        self._undecided = False
        if head.startswith(b"["):
            self._splitter = ArraySplitter(self._max_event)
        elif head.startswith((b"data:", b"event:", b":")):
            self._splitter = self._events = SseSplitter(self._max_event)
        elif self._sniffing and not head.startswith(b"{"):
            self._ignoring = True
            self._capture = None
        self._read(head)

    def _keep(self, chunk: bytes) -> None:
        self._body += chunk
        if self._body_overflowed or len(self._body) > self._max_body:
            self._body_overflowed = True
            del self._body[:-_END]

    def _usage(self, facts: Facts, complete: bool) -> Usage | None:
        whole = complete and facts.error is None
        if facts.stage is Stage.FINAL or (facts.stage is Stage.RUNNING and whole):
            return _of_source(facts.usage, "exact")
        skipped = self._body_overflowed or (self._splitter is not None and self._splitter.overflowed > 0)
        unread = skipped or self.faulty or (self._decoder is not None and self._decoder.failed is not None)
        measured = facts.text_bytes > 0 or facts.known_output is not None
        if facts.stage is not Stage.NOTHING or (measured and not unread):
            return self._estimate(facts)
        cut = not complete and not self._ignoring
        return _of_source(facts.usage, "unknown") if facts.generated or unread or cut else None

    def _estimate(self, facts: Facts) -> Usage:
        """What was reported, where something was; the rest from the sizes of question and answer."""
        usage = facts.usage
        if facts.stage is Stage.NOTHING:
            usage.input = _tokens(self._request_bytes)
        if facts.stage is not Stage.RUNNING:
            usage.output = max(usage.output, _tokens(facts.text_bytes))
        if facts.known_output is not None:
            usage.output = facts.known_output
        return _of_source(usage, "estimated")


def _splitter(media_type: str, dialect: Dialect, max_event: int) -> Splitter | None:
    if media_type == "text/event-stream":
        return SseSplitter(max_event)
    if media_type == EVENTSTREAM:
        return FrameSplitter(max_event)
    if media_type in _JSON_LINES or (dialect == "ollama" and media_type == "application/json"):
        return LineSplitter(max_event)
    return None


def _is_json(media_type: str) -> bool:
    return media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json"))


def _of_source(usage: Usage, source: Source) -> Usage:
    usage.source = source
    return usage


def _tokens(size: int) -> int:
    return -(-size // _BYTES_PER_TOKEN)
