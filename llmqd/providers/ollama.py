"""Usage in Ollama's native format: JSON lines, the figures in the last one.

Facts are those of Ollama's API documentation (/api/chat, /api/generate, /api/embed).
"""

from __future__ import annotations

from llmqd.providers.facts import Facts, Message, Stage, first, member, members
from llmqd.usage import Usage


def matches(message: Message) -> bool:
    """Whether this is an answer or one of its lines; an embedding has no `done`."""
    return isinstance(message.get("done"), bool) or "prompt_eval_count" in message or "eval_count" in message


def read(message: Message, facts: Facts) -> None:
    """Merge one body or line.

    Without `prompt_eval_count` (Ollama leaves it out when the whole prompt was cached) the input stays unknown, and so
    the report is not final.
    """
    facts.generated = facts.generated or matches(message)
    facts.name(model=message.get("model"))
    facts.add_text("response", message.get("response"))
    said = member(message, "message")
    for key in ("content", "thinking"):
        facts.add_text(key, said.get(key))
    for _ in members(said, "tool_calls"):
        facts.call()
    facts.finish(message.get("done_reason"))
    facts.finished = facts.finished or message.get("done") is True
    given = first(message, "prompt_eval_count")
    made = first(message, "eval_count")
    if given is not None:
        facts.report(Usage(input=given, output=made or 0), Stage.FINAL)
    elif made is not None:
        facts.known_output = made
