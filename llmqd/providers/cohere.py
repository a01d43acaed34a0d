"""Usage in Cohere's own format: billed units, which are what the invoice says, beside the tokens really used.

Facts are those of Cohere's API reference (v2 chat and its stream events, v1 chat, embed).
"""

from __future__ import annotations

from llmqd.providers.facts import Facts, Message, Stage, count, first, member, members, text, tokens
from llmqd.usage import Usage

_EVENTS = frozenset(
    {"message-start", "content-start", "content-delta", "content-end", "tool-plan-delta", "tool-call-start"}
    | {"tool-call-delta", "tool-call-end", "citation-start", "citation-end", "message-end"}
)


def matches(message: Message) -> bool:
    """Whether this is a v2 event, a v1 event (which says `event_type`) or a body with billed units."""
    kind = text(message.get("type")) or text(message.get("event_type"))
    return kind in _EVENTS or "event_type" in message or "billed_units" in _figures(message)


def read(message: Message, facts: Facts) -> None:
    """Merge one body or event."""
    if isinstance(message.get("response"), dict):
        message = message["response"] | {"finished": True}
    delta = member(message, "delta")
    said = member(delta, "message")
    facts.name(model=message.get("model"), provider_id=message.get("id") or message.get("generation_id"))
    facts.finish(message.get("finish_reason") or delta.get("finish_reason"))
    facts.add_text("text", member(said, "content").get("text") or message.get("text"))
    _count_calls(message, said, facts)
    facts.finished = facts.finished or message.get("type") == "message-end" or message.get("finished") is True
    figures = _figures(message)
    units = member(figures, "billed_units")
    real = member(figures, "tokens")
    given = first(units, "input_tokens")
    given = first(real, "input_tokens") if given is None else given
    made = first(units, "output_tokens")
    made = first(real, "output_tokens") if made is None else made
    if given is None and made is None:
        return
    cached = min(tokens(figures, "cached_tokens"), given or 0)
    facts.report(Usage(input=given or 0, output=made or 0, cached=cached), Stage.FINAL)


def _count_calls(message: Message, said: Message, facts: Facts) -> None:
    """A v2 event has one call under its index; a body, and v1, a list, which the end of a v1 stream repeats."""
    if member(said, "tool_calls"):
        facts.call(("index", count(message.get("index"))))
    listed = members(member(message, "message"), "tool_calls") or members(message, "tool_calls")
    for position in range(len(listed)):
        facts.call(("position", position))


def _figures(message: Message) -> Message:
    for holder in (message, member(message, "delta")):
        for key in ("usage", "meta"):
            figures = member(holder, key)
            if "billed_units" in figures or "tokens" in figures:
                return figures
    return {}
