"""What a client asks of llmqd itself by the X-LLMQD-* headers of one call, and how long it says that it will wait."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from llmqd.errors import BadHeader

PREFIX = "x-llmqd-"
PRIORITIES = {"high": 1, "normal": 5, "low": 7, "batch": 9}
"""The named priorities; 0 goes first, 9 last."""

_MAX_TAGS, _MAX_TAG_KEY, _MAX_TAG_VALUE = 50, 64, 512
_MAX_NAME = 256

_CLIENT_TIMERS = ("x-stainless-read-timeout", "x-stainless-timeout", "x-server-timeout")
_MARGIN, _MARGIN_PART = 2.0, 0.1
_PLAIN_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{0,9})?")


@dataclass(frozen=True, slots=True)
class Controls:
    """The control headers of one call, checked. None: not given. `deadline` is the longest wait in seconds."""

    priority: int | None = None
    deadline: float | None = None
    no_queue: bool = False
    agent: str | None = None
    user: str | None = None
    conversation: str | None = None
    tags: tuple[str, ...] = ()
    store: str = "full"


def parse_priority(value: str) -> int:
    """`high`, `normal`, `low`, `batch`, or 0 to 9. Raises ValueError."""
    text = value.strip().lower()
    if text in PRIORITIES:
        return PRIORITIES[text]
    if len(text) == 1 and text.isascii() and text.isdigit():
        return int(text)
    raise ValueError(f"{value!r} is not a priority: high, normal, low, batch, or 0 to 9")


def read_controls(headers: Mapping[str, str]) -> Controls:
    """Reads the control headers. Raises BadHeader naming the header, its value and what would be right."""
    ours = [(name, value) for name, value in headers.items() if name[: len(PREFIX)].lower() == PREFIX]
    if not ours:
        return Controls()
    for name, value in ours:
        if not value.isascii():
            _check_text(name, value)
    return Controls(
        priority=_priority(headers.get("X-LLMQD-Priority")),
        deadline=_deadline(headers.get("X-LLMQD-Deadline")),
        no_queue=_flag("X-LLMQD-No-Queue", headers.get("X-LLMQD-No-Queue")),
        agent=_name("X-LLMQD-Agent", headers.get("X-LLMQD-Agent")),
        user=_name("X-LLMQD-User", headers.get("X-LLMQD-User")),
        conversation=_name("X-LLMQD-Conversation", headers.get("X-LLMQD-Conversation")),
        tags=parse_tags(",".join(value for name, value in ours if name.lower() == "x-llmqd-tags")),
        store=_store(headers.get("X-LLMQD-Store")),
    )


def parse_tags(value: str) -> tuple[str, ...]:
    """A comma list of `key:value` or bare words: at most 50; keys over 64 characters are dropped, values cut at 512."""
    tags: list[str] = []
    for part in value.split(","):
        key, colon, text = part.strip().partition(":")
        if not key or len(key) > _MAX_TAG_KEY:
            continue
        tags.append(f"{key.strip()}:{text.strip()[:_MAX_TAG_VALUE]}" if colon else key)
        if len(tags) == _MAX_TAGS:
            break
    return tuple(tags)


def stated_timer(headers: Mapping[str, str]) -> float | None:
    """After how many seconds without a byte a client gives up; None where it names no timer.

    Official SDKs say so: `x-stainless-read-timeout` (Python) and `x-stainless-timeout` (Python, Node) of OpenAI and
    Anthropic, `X-Server-Timeout` of Google. The shortest counts. What is no positive number is ignored, as these
    headers are not for llmqd (`NOT_GIVEN`, `None`).
    """
    stated = (seconds for name in _CLIENT_TIMERS if (seconds := _seconds(headers.get(name))) is not None)
    return min(stated, default=None)


def patience(timer: float | None, *, beats_after: float | None = None) -> float | None:
    """How long a call may wait so that its client can still be told of it; None where that has no bound.

    That is the client's timer less a margin of two seconds, or a tenth where that is shorter: it began before the call
    was here. `beats_after` is after how many seconds of waiting bytes begin to flow, None: never. Bytes in time start
    such timers anew, so that they bound nothing.
    """
    if timer is None:
        return None
    bound = timer - min(_MARGIN, timer * _MARGIN_PART)
    return None if beats_after is not None and beats_after < bound else bound


def _seconds(value: str | None) -> float | None:
    if value is None or not _PLAIN_NUMBER.fullmatch(value.strip()):
        return None
    return float(value) or None


def _check_text(name: str, value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadHeader(f"{name} is not UTF-8") from None


def _priority(value: str | None) -> int | None:
    if value is None:
        return None
    try:
        return parse_priority(value)
    except ValueError as error:
        raise BadHeader(f"X-LLMQD-Priority: {error}") from None


def _deadline(value: str | None) -> float | None:
    if value is None:
        return None
    try:
        seconds = float(value) if value.isascii() and "_" not in value else math.nan
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise BadHeader(f"X-LLMQD-Deadline: {value!r} is not a number of seconds (0 or more)")
    return seconds


def _flag(name: str, value: str | None) -> bool:
    if value is None or value.strip().lower() in ("0", "false", "no"):
        return False
    if value.strip().lower() in ("1", "true", "yes"):
        return True
    raise BadHeader(f"{name}: {value!r} is neither 1 nor 0")


def _name(header: str, value: str | None) -> str | None:
    text = value.strip() if value is not None else ""
    if len(text) > _MAX_NAME:
        raise BadHeader(f"{header} is longer than {_MAX_NAME} characters")
    return text or None


def _store(value: str | None) -> str:
    if value is None:
        return "full"
    mode = value.strip().lower()
    if mode not in ("full", "usage", "none"):
        raise BadHeader(f"X-LLMQD-Store: {value!r} is none of full, usage, none")
    return mode
