"""Usage in llama.cpp's native format, and in the `timings` that it adds to its OpenAI-compatible answers.

Facts are those of llama.cpp's server documentation (/completion; timings on the last chunk).
"""

from __future__ import annotations

from llmqd.providers.facts import Facts, Message, Stage, first, member, tokens
from llmqd.usage import Usage


def matches(message: Message) -> bool:
    """Whether this is a native answer or one of its stream events."""
    return "choices" not in message and ("tokens_predicted" in message or "stop" in message)


def read(message: Message, facts: Facts) -> None:
    """Merge one native body or event."""
    facts.generated = True
    facts.name(model=message.get("model"))
    facts.add_text("content", message.get("content"))
    if message.get("stop") is not True:
        return
    facts.finish(message.get("stop_type"))
    facts.finished = True
    timed = usage_of(message)
    given = first(message, "tokens_evaluated")
    made = first(message, "tokens_predicted")
    if given is None and made is None:
        if timed is not None:
            facts.report(timed, Stage.FINAL)
        return
    cached = timed.cached if timed is not None else tokens(message, "tokens_cached")
    facts.report(Usage(input=given or 0, output=made or 0, cached=min(cached, given or 0)), Stage.FINAL)


def usage_of(message: Message) -> Usage | None:
    """The usage in `timings`: the context used is `prompt_n` + `cache_n` + `predicted_n`. None without them."""
    timings = member(message, "timings")
    fresh = first(timings, "prompt_n")
    made = first(timings, "predicted_n")
    if fresh is None or made is None:
        return None
    cached = tokens(timings, "cache_n")
    return Usage(input=fresh + cached, output=made, cached=cached)
