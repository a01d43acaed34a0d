"""Usage in Amazon Bedrock's Converse format: cache counts stand beside the input.

Facts are those of the Amazon Bedrock API reference (Converse, TokenUsage).
"""

from __future__ import annotations

from llmqd.providers.facts import Facts, Message, Stage, first, member, members, tokens
from llmqd.usage import Usage


def matches(message: Message) -> bool:
    """Whether this is a Converse answer, or its stream's metadata event as JSON."""
    figures = member(message, "usage")
    return "inputTokens" in figures or "outputTokens" in figures


def read(message: Message, facts: Facts) -> None:
    """Merge one body."""
    facts.generated = True
    facts.finish(message.get("stopReason"))
    for block in members(member(member(message, "output"), "message"), "content"):
        if member(block, "toolUse"):
            facts.call()
    figures = member(message, "usage")
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
