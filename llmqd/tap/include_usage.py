"""Makes an OpenAI chat stream report its usage for a client that did not ask: edits the request, hides the traces.

`stream_options.include_usage` makes the provider send one more chunk before `[DONE]`, with no choices and the usage,
and puts `"usage":null` into every other chunk (OpenAI API reference, chat completions, `stream_options`).
"""

from __future__ import annotations

import re

import msgspec

from llmqd.messages.lenient_json import STRING_BODY, whole_characters
from llmqd.tap.alike import Alike, Familiar
from llmqd.tap.members import Member, last_member, raw_members


def add_include_usage(body: bytes) -> bytes | None:
    """The request body with `stream_options.include_usage` set to true, all other bytes as they were.

    None when nothing is to be done: the body is no JSON object, `stream` is not exactly true, the client asked itself,
    or `stream_options` is of a shape that the provider should judge. Where a key stands twice, the last one counts.
    """
    fields = raw_members(body) or raw_members(whole_characters(body))
    if fields is None or bytes(fields.get("stream", b"")) != b"true":
        return None
    options = fields.get("stream_options")
    if options is None:
        start = body.index(b"{") + 1
        return body[:start] + b'"stream_options":{"include_usage":true},' + body[start:]
    found = _found(body, "stream_options")
    if bytes(options) == b"null":
        return body[: found.value] + b'{"include_usage":true}' + body[found.end :]
    inner = raw_members(whole_characters(bytes(options)))
    if inner is None:
        return None
    wanted = inner.get("include_usage")
    if wanted is None:
        start = found.value + 1
        return body[:start] + b'"include_usage":true' + (b"," if inner else b"") + body[start:]
    if bytes(wanted) not in (b"false", b"null"):
        return None
    flag = _found(body, "include_usage", found.value)
    return body[: flag.value] + b"true" + body[flag.end :]


def _found(body: bytes, key: str, at: int = 0) -> Member:
    member = last_member(body, key, at)
    assert member is not None, f"{key} was there a moment ago"
    return member


_PLAIN = b',"usage":null'
"""How the member is written in nearly every chunk."""
_CONTENT = re.compile(rb'"content":"(' + STRING_BODY + rb')"')
_CR, _LF = 0x0D, 0x0A
_LINE_END = rb"(?:\r\n|\n|\r(?!\n))"
_EVENT_END = re.compile(_LINE_END + _LINE_END)
# The group is not possessive: up to Python 3.11.4 that keeps what it took of a repetition that failed (gh-106052).
_BETWEEN = re.compile(rb"(?:[\r\n]++|:[^\r\n]*+[\r\n])*")
_LINES = re.compile(rb"[^\r\n]*+" + _LINE_END + rb"|[^\r\n]++")


class UsageStrip:
    """Takes out of a chat stream what `include_usage` put in, so that the client sees what it would have seen without.

    Bytes are held back only while their event is incomplete, because only a whole event can be judged; blank lines and
    comments between events pass at once. Should an event become larger than `max_event`, everything passes from there.
    Only an event with a single `data:` line is changed; OpenAI sends no others.
    """

    def __init__(self, max_event: int = 4 * 1024 * 1024) -> None:
        self._max_event = max_event
        self._held = bytearray()
        self._searched = 0
        self._passing = False
        self._familiar = Familiar(max_event)

    def feed(self, chunk: bytes) -> bytes:
        """The next bytes from the upstream; returns those that the client may have now."""
        out: list[bytes] = []
        while chunk:
            cut = self._familiar.cut(chunk, between=not self._held and not self._passing)
            out.append(chunk[: cut.alike].replace(_PLAIN, b""))
            if cut.look:
                out.append(self._take(cut.look))
            chunk = cut.rest
        return b"".join(out)

    def _take(self, chunk: bytes) -> bytes:
        if self._passing:
            return chunk
        if (
            not self._held
            and chunk.startswith(b"data: ")
            and chunk.find(b"\n\n") == len(chunk) - 2 <= self._max_event - 2
        ):
            judged = _judge(chunk)
            if self._familiar.learns and len(judged) == len(chunk) - len(_PLAIN):
                self._learn(chunk)
            return judged
        self._held += chunk
        return self._release(_LF in chunk or _CR in chunk)

    def _learn(self, event: bytes) -> None:
        """An event of which only its `usage` was taken: what is as it is but for the text loses the same bytes."""
        text = _CONTENT.search(event)
        plain = text is not None and event.count(_PLAIN) == 1 and event.find(b"\n") == len(event) - 2
        self._familiar.learn(Alike(b"", event[6:-2], *(at - 6 for at in text.span(1))) if text and plain else None)

    def flush(self) -> bytes:
        """The upstream has ended; returns what is still held."""
        rest = bytes(self._held)
        self._held.clear()
        self._searched = 0
        return _judge(rest)

    def _release(self, new_line: bool) -> bytes:
        held = self._held
        out: list[bytes] = []
        start = 0
        while True:
            if self._searched <= start or (new_line and held.startswith(b":", start)):
                start = self._pass_between(start, out)
            found = _EVENT_END.search(held, max(start, self._searched - 3))
            # A CR at the very end may be the first half of a CRLF.
            if found is None or (found.end() == len(held) and held.endswith(b"\r")):
                break
            if found.end() - start > self._max_event:
                break
            out.append(_judge(bytes(held[start : found.end()])))
            self._searched = start = found.end()
        if len(held) - start > self._max_event:
            self._passing = True
            out.append(bytes(held[start:]))
            start = len(held)
        del held[:start]
        self._searched = len(held)
        return b"".join(out)

    def _pass_between(self, start: int, out: list[bytes]) -> int:
        found = _BETWEEN.match(self._held, start)
        if found is None or found.end() == start:
            return start
        out.append(found.group())
        return found.end()


class _Chunk(msgspec.Struct, gc=False):
    """The members of a chunk that decide."""

    choices: msgspec.Raw = msgspec.Raw()
    usage: msgspec.Raw = msgspec.Raw()
    prompt_filter_results: msgspec.Raw = msgspec.Raw()


_chunk = msgspec.json.Decoder(_Chunk)


def _decoded(payload: bytes) -> _Chunk | None:
    try:
        return _chunk.decode(payload)
    except (msgspec.DecodeError, RecursionError):
        return None


def _judge(event: bytes) -> bytes:
    """The event as the client shall see it; what it shall not see at all gives nothing but the event's comments."""
    if event.rfind(b'"usage"') < 0:
        return event
    span = _payload(event)
    if span is None:
        return event
    payload = event[span[0] : span[1]]
    chunk = _decoded(payload) or _decoded(whole_characters(payload))
    if chunk is None:
        return event
    usage = bytes(chunk.usage)
    if usage == b"null":
        return event[: span[0]] + _without_usage(payload) + event[span[1] :]
    without_choices = bytes(chunk.choices).split() in ([b"[]"], [b"[", b"]"])
    # Azure's first chunk has no choices either, but something to say.
    if without_choices and usage.startswith(b"{") and not bytes(chunk.prompt_filter_results):
        return b"".join(line for line in _LINES.findall(event) if line.startswith(b":"))
    return event


def _payload(event: bytes) -> tuple[int, int] | None:
    """Where the data of the event's only `data:` line stands; None when there is none or more than one."""
    if event.startswith(b"data: ") and event.find(b"\n") == len(event) - 2 and _CR not in event:
        return 6, len(event) - 2
    span = None
    for found in _LINES.finditer(event):
        line = found.group()
        if line.startswith(b"data:"):
            if span is not None:
                return None
            skipped = 6 if line.startswith(b"data: ") else 5
            span = found.start() + skipped, found.start() + len(line.rstrip(b"\r\n"))
    return span


def _without_usage(payload: bytes) -> bytes:
    """The chunk without its member `usage`, the comma and the white space that came with it."""
    start = payload.find(_PLAIN)
    if start >= 0 and payload.find(b'"usage"', start + len(_PLAIN)) < 0 and payload.find(b'"usage"') == start + 1:
        return payload[:start] + payload[start + len(_PLAIN) :]
    usage = _found(payload, "usage")
    before = payload[: usage.start].rstrip()
    if before.endswith(b","):
        return before[:-1] + payload[usage.end :]
    after = payload[usage.end :].lstrip()
    return payload[: usage.start] + (after[1:].lstrip() if after.startswith(b",") else after)
