"""Usage in Amazon Bedrock's Converse format, whole and streamed: cache counts stand beside the input.

Facts are those of the Amazon Bedrock API reference (Converse, ConverseStream, TokenUsage), and for what Bedrock counts
itself of answers in a vendor's own format, InvokeModel and InvokeModelWithResponseStream.
"""

from __future__ import annotations

from collections.abc import Mapping

from llmqd.providers.facts import Facts, Message, Stage, count, first, member, members, text, tokens
from llmqd.usage import Usage

_EVENTS = ("contentBlockDelta", "contentBlockStart", "messageStart", "contentBlockStop", "messageStop", "metadata")
METRICS = "amazon-bedrock-invocationMetrics"
"""What the last message of a stream in a vendor's own format has beside its own members."""


def matches(message: Message) -> bool:
    """Whether this is a Converse answer, or an event of its stream under its name."""
    return _counts(message) or any(name in message for name in _EVENTS[:-1]) or _counts(member(message, "metadata"))


def _counts(message: Message) -> bool:
    figures = member(message, "usage")
    return "inputTokens" in figures or "outputTokens" in figures


def read(message: Message, facts: Facts) -> None:
    """Merge one body or event."""
    facts.generated = True
    event = member(message, *_EVENTS)
    _read_event(event, facts)
    facts.finish(message.get("stopReason") or event.get("stopReason"))
    for block in members(member(member(message, "output"), "message"), "content"):
        if member(block, "toolUse"):
            facts.call()
    figures = member(message, "usage") or member(event, "usage")
    given = first(figures, "inputTokens")
    made = first(figures, "outputTokens")
    if given is None and made is None:
        return
    cached = tokens(figures, "cacheReadInputTokens")
    written = tokens(figures, "cacheWriteInputTokens")
    hour = sum(tokens(part, "inputTokens") for part in members(figures, "cacheDetails") if part.get("ttl") == "1h")
    hour = min(hour, written)
    usage = Usage(
        input=(given or 0) + cached + written,
        output=made or 0,
        cached=cached,
        cache_write_5m=written - hour,
        cache_write_1h=hour,
    )
    facts.report(usage, Stage.FINAL)
    facts.finished = facts.finished or bool(event)


def _read_event(event: Message, facts: Facts) -> None:
    delta = member(event, "delta")
    facts.add_text("text", delta.get("text"))
    facts.add_text("text", member(delta, "reasoningContent").get("text"))
    facts.add_text("input", member(delta, "toolUse").get("input"))
    called = member(member(event, "start"), "toolUse")
    if called:
        facts.call(call_id=text(called.get("toolUseId")))


def read_metrics(message: Message, facts: Facts) -> None:
    """What Bedrock itself counts; for formats that say nothing of it, or not all."""
    figures = member(message, METRICS)
    given = first(figures, "inputTokenCount")
    if given is None or facts.stage is Stage.FINAL:
        return
    facts.generated = facts.finished = True
    cached = tokens(figures, "cacheReadInputTokenCount")
    written = tokens(figures, "cacheWriteInputTokenCount")
    made = tokens(figures, "outputTokenCount")
    facts.report(Usage(given + cached + written, made, cached=cached, cache_write_5m=written), Stage.FINAL)


def told_in(headers: Mapping[str, str]) -> Usage | None:
    """What the head of an InvokeModel answer says, whose body is the vendor's; None where it says nothing."""
    given, made = (_number(headers.get(f"x-amzn-bedrock-{kind}-token-count")) for kind in ("input", "output"))
    return Usage(given, made or 0, source="exact") if given is not None else None


def _number(value: str | None) -> int | None:
    return count(int(value)) if value is not None and value.isascii() and value.isdigit() and len(value) < 16 else None
