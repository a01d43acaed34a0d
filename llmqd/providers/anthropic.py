"""Usage in Anthropic's Messages format: input and cache counts stand side by side, a stream reports in two events.

Facts are those of Anthropic's API reference (Messages, streaming, prompt caching, compaction).
"""

from __future__ import annotations

from llmqd.providers.facts import Facts, Message, Stage, count, member, members, text
from llmqd.usage import Usage

_TYPES = frozenset(
    {
        "message",
        "message_start",
        "message_delta",
        "message_stop",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "ping",
    }
)
_DELTA_TEXT = ("text", "thinking", "partial_json")
_FIGURES = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


def matches(message: Message) -> bool:
    """Every message and event of this format bears its type."""
    kind = message.get("type")
    return isinstance(kind, str) and kind in _TYPES


def read(message: Message, facts: Facts) -> None:
    """Merge one body or event."""
    kind = message.get("type")
    if kind == "content_block_delta":
        delta = member(message, "delta")
        for key in _DELTA_TEXT:
            facts.add_text(key, delta.get(key))
    elif kind == "content_block_start":
        _count_call(member(message, "content_block"), facts)
    elif kind == "message_start":
        _read_message(member(message, "message"), facts, Stage.INPUT)
    elif kind == "message_delta":
        facts.finish(member(message, "delta").get("stop_reason"))
        stage = Stage.RUNNING if facts.finish_reason is None else Stage.FINAL
        _read_usage(member(message, "usage"), facts, stage)
    elif kind == "message_stop":
        facts.finished = True
    elif kind == "message":
        _read_message(message, facts, Stage.FINAL)
        for block in members(message, "content"):
            facts.add_text("text", block.get("text"))
            _count_call(block, facts)


def _count_call(block: Message, facts: Facts) -> None:
    """Blocks that are calls: of the client's tools, of those that run at Anthropic, of MCP servers."""
    if (text(block.get("type")) or "").endswith("tool_use"):
        facts.call()


def _read_message(message: Message, facts: Facts, stage: Stage) -> None:
    facts.generated = True
    facts.name(model=message.get("model"), provider_id=message.get("id"))
    facts.finish(message.get("stop_reason"))
    _read_usage(member(message, "usage"), facts, stage)


def _read_usage(figures: Message, facts: Facts, stage: Stage) -> None:
    """Merge one `usage`. Counts are cumulative and each that is present replaces the earlier one.

    An input does not become 0 again: servers that only speak this format may fill up so what they do not say.
    """
    if not figures:
        return
    counts = facts.counts
    seen = [_keep(counts, key, figures.get(key)) for key in _FIGURES]
    split = member(figures, "cache_creation")
    _keep(counts, "5m", split.get("ephemeral_5m_input_tokens"))
    _keep(counts, "1h", split.get("ephemeral_1h_input_tokens"))
    _keep(counts, "thinking", member(figures, "output_tokens_details").get("thinking_tokens"))
    _keep(counts, "searches", member(figures, "server_tool_use").get("web_search_requests"))
    _read_compactions(figures, counts)
    if not any(seen):
        return
    usage = _usage(counts)
    usage.service_tier = "fast" if figures.get("speed") == "fast" else text(figures.get("service_tier"))
    facts.report(usage, stage)


def _keep(counts: dict[str, int], key: str, value: object) -> bool:
    number = count(value)
    if number is None:
        return False
    if number or key == "output_tokens":
        counts[key] = number
    return True


def _read_compactions(figures: Message, counts: dict[str, int]) -> None:
    """The tokens of server-side compaction are billed but not part of the message's own figures."""
    compactions = [turn for turn in members(figures, "iterations") if turn.get("type") == "compaction"]
    if compactions:
        counts["compacted_in"] = sum(count(turn.get("input_tokens")) or 0 for turn in compactions)
        counts["compacted_out"] = sum(count(turn.get("output_tokens")) or 0 for turn in compactions)


def _usage(counts: dict[str, int]) -> Usage:
    """Totals out of the parts. Cache writes whose lifetime is not told are of the default, 5 minutes."""
    told = counts.get("5m", 0) + counts.get("1h", 0)
    written = counts.get("cache_creation_input_tokens", 0) or told
    hour = min(counts.get("1h", 0), written)
    read_from_cache = counts.get("cache_read_input_tokens", 0)
    return Usage(
        input=counts.get("input_tokens", 0) + written + read_from_cache + counts.get("compacted_in", 0),
        output=counts.get("output_tokens", 0) + counts.get("compacted_out", 0),
        cached=read_from_cache,
        cache_write_5m=written - hour,
        cache_write_1h=hour,
        reasoning=counts.get("thinking", 0),
        web_searches=counts.get("searches", 0),
    )
