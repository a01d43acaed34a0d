"""What an answer says about itself, gathered message by message; with the checks for numbers that cannot be trusted.

A message is one JSON object: a whole body, or the data of one stream event. Each dialect's module has
`matches(message)` (is this my wire format?) and `read(message, facts)` (merge what it says; errors are read for all by
`error_kind`). Neither raises, whatever the message holds: a field of the wrong type, negative, boolean or absurdly
large is as good as missing.
"""

from __future__ import annotations

from collections.abc import Hashable
from decimal import Decimal
from enum import IntEnum
from typing import Any

import msgspec

from llmqd.usage import PICO, Usage

Message = dict[str, Any]

_MOST_TOKENS = 10**12
_MOST_USD = 10**6
_MOST_CALLS = 10_000
"""More calls than that in one answer are no answer; they are not counted."""

_UNSEEN = object()


class Stage(IntEnum):
    """How much of the usage the provider has reported."""

    NOTHING = 0
    INPUT = 1
    """The input side only (Anthropic's message_start)."""
    RUNNING = 2
    """Both sides, true up to this message: more may come (continuous usage)."""
    FINAL = 3
    """Both sides, for the whole answer."""


class Facts(msgspec.Struct):
    """What is known of an answer so far. `usage` counts from `stage` INPUT on.

    `finished` is True once the format's own end marker was seen. `generated` is True when the answer is a model's work,
    which costs tokens, even where it reports none. `text_bytes` is the size of the generated text seen so far and
    `text_key` the JSON member which held the latest piece of a stream's text: together the base of estimates.
    `counts` holds the raw figures of formats that report them in several messages.
    """

    usage: Usage = msgspec.field(default_factory=Usage)
    stage: Stage = Stage.NOTHING
    model: str | None = None
    provider_id: str | None = None
    finish_reason: str | None = None
    error: str | None = None
    finished: bool = False
    generated: bool = False
    text_bytes: int = 0
    text_key: str | None = None
    counts: dict[str, int] = {}
    known_output: int | None = None
    """The output's size where the provider reported nothing else."""
    function_calls: int = 0
    """How many calls of tools the answer holds, over all choices."""
    calls: dict[object, object] = {}
    """Where a call was seen, and its id: later events bring the rest of it."""

    def name(self, *, model: object = None, provider_id: object = None) -> None:
        """Keep the first model and the first id that are said; empty ones say nothing (Azure's first chunk)."""
        if self.model is None:
            self.model = text(model)
        if self.provider_id is None:
            self.provider_id = text(provider_id)

    def finish(self, reason: object) -> None:
        """Keep the latest reason why the answer ended, where there is one."""
        self.finish_reason = text(reason) or self.finish_reason

    def report(self, usage: Usage, stage: Stage) -> None:
        """Replace the figures: the latest report counts, but one that is known to be final is not undone by a running
        one."""
        if stage >= self.stage or self.stage < Stage.FINAL:
            usage.service_tier = usage.service_tier or self.usage.service_tier
            self.usage = usage
            self.stage = max(stage, self.stage)

    def call(self, place: Hashable = None, call_id: object = None) -> None:
        """Count a call of a tool. Without a `place` each is a new one, else only the first there; but another id at
        the same place is another call, as some servers number all their calls 0."""
        call_id = call_id if isinstance(call_id, str) and call_id else None
        if place is not None:
            known = self.calls.get(place, _UNSEEN)
            if known is not _UNSEEN and (call_id is None or known in (None, call_id)):
                self.calls[place] = known or call_id
                return
            if known is _UNSEEN and len(self.calls) >= _MOST_CALLS:
                return
            self.calls[place] = call_id
        self.function_calls += 1

    def add_text(self, key: str, value: object) -> None:
        """Count a piece of generated text that stood under `key`."""
        if isinstance(value, str):
            self.generated = True
            if value:
                self.text_bytes += len(value.encode())
                self.text_key = key


def text(value: object, limit: int = 256) -> str | None:
    """A non-empty string, cut to `limit` characters; None for anything else."""
    return value[:limit] if isinstance(value, str) and value else None


def count(value: object) -> int | None:
    """A number of tokens; None unless it is a whole number from 0 to a trillion (Cohere writes them as floats)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MOST_TOKENS:
        return None
    return int(value) if value == int(value) else None


def first(message: Message, *keys: str) -> int | None:
    """The first of these members that holds a number of tokens."""
    for key in keys:
        value = count(message.get(key))
        if value is not None:
            return value
    return None


def tokens(message: Message, *keys: str) -> int:
    """The same, 0 when there is none."""
    return first(message, *keys) or 0


def member(message: Message, *keys: str) -> Message:
    """The first of these members that is an object; an empty one when there is none."""
    for key in keys:
        value = message.get(key)
        if isinstance(value, dict):
            return value
    return {}


def members(message: Message, key: str) -> list[Message]:
    """The objects in this member, which is a list; nothing when it is not."""
    value = message.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def amount(value: object) -> Decimal | None:
    """A finite, non-negative decimal number of at most a million (seconds, dollars); None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MOST_USD:
        return None
    return Decimal(str(value))


def pico(dollars: Decimal) -> int:
    """US dollars in picodollars."""
    return int((dollars * PICO).to_integral_value())


def error_kind(message: Message) -> str | None:
    """The kind of error that a message of any dialect reports, None when it reports none.

    OpenAI and Anthropic wrap an object in `error`, Gemini too (its `status` says more than its numeric `code`), Ollama
    a sentence; OpenAI's Responses stream sends `{"type": "error", "code": ...}` itself.
    """
    error = message.get("error")
    if isinstance(error, dict):
        code = error.get("code")
        kind = text(code) or text(error.get("status")) or text(error.get("type"))
        return kind or (str(code) if count(code) is not None else "error")
    if message.get("type") == "error":
        return text(message.get("code")) or "error"
    return "error" if isinstance(error, str) and error else None
