"""Usage in OpenAI's wire formats and those made after them (Groq, DeepSeek, Mistral, OpenRouter, vLLM, xAI...).

Facts are those of OpenAI's API reference (chat completions, completions, embeddings, responses, images, audio) and,
where named, of the provider's own.
"""

from __future__ import annotations

from llmqd.providers import llamacpp
from llmqd.providers.facts import Facts, Message, Stage, amount, error_kind, first, member, members, pico, text, tokens
from llmqd.providers.plain_chat import PlainChat
from llmqd.usage import Usage

_DELTA_TEXT = ("content", "reasoning_content", "reasoning", "refusal")
_MEDIA_EVENTS = ("transcript.", "speech.", "image_")
_EVENTS = ("response.", *_MEDIA_EVENTS)
_TERMINAL = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
_LAST_EVENTS = frozenset({"transcript.text.done", "speech.audio.done"})
_TICK = 100
"""Picodollars in what xAI calls a tick: ten thousand millions of them are a dollar."""
_RUNNING_STATES = frozenset({"queued", "in_progress"})


def matches(message: Message) -> bool:
    """Whether this looks like one of the family's bodies, chunks or events. Other formats have a `usage` too."""
    kind = message.get("type")
    named = isinstance(kind, str) and kind.startswith(_EVENTS)
    return named or "choices" in message or "object" in message or "usage" in message


def read(message: Message, facts: Facts) -> None:
    """Merge one message: a body, a chunk or an event."""
    kind = message.get("type")
    response = message.get("response")
    if isinstance(response, dict):
        _read_response(response, facts)
        facts.finished = facts.finished or text(kind) in _TERMINAL
        return
    if message.get("object") == "response":
        _read_response(message, facts)
        return
    facts.name(model=message.get("model"), provider_id=message.get("id"))
    if isinstance(kind, str):
        _read_event(kind, message, facts)
    for choice in members(message, "choices"):
        _read_choice(choice, facts)
    if not facts.generated:
        facts.generated = "choices" in message or "text" in message
    _read_usage(message, facts)


def read_plain(chat: PlainChat, facts: Facts) -> None:
    """The same for a whole answer that is nothing but a text."""
    figures = chat.usage
    inside, outside = figures.prompt_tokens_details, figures.completion_tokens_details
    made, reasoning = _with_thoughts(
        figures.prompt_tokens, figures.completion_tokens, figures.total_tokens, outside.reasoning_tokens, chat.model
    )
    facts.name(model=chat.model, provider_id=chat.id)
    facts.finish(chat.finish_reason)
    facts.add_text("content", chat.text)
    usage = Usage(
        input=figures.prompt_tokens,
        output=made,
        cached=inside.cached_tokens,
        input_audio=inside.audio_tokens,
        reasoning=reasoning,
        output_audio=outside.audio_tokens,
        service_tier=chat.service_tier,
    )
    facts.report(usage, Stage.FINAL)


def _read_event(kind: str, message: Message, facts: Facts) -> None:
    if kind.startswith("response.") and kind.endswith(".delta"):
        facts.add_text("delta", message.get("delta"))
    elif kind.startswith("response.output_item."):
        _count_call(member(message, "item"), message.get("output_index"), facts)
    elif kind.startswith(_MEDIA_EVENTS):
        # What was heard, said or painted is not measured by the size of the request or of the answer.
        facts.generated = True
    if kind in _LAST_EVENTS:
        facts.finished = True


def _read_choice(choice: Message, facts: Facts) -> None:
    facts.finish(choice.get("finish_reason"))
    facts.add_text("text", choice.get("text"))
    said = member(choice, "delta", "message")
    for key in _DELTA_TEXT:
        facts.add_text(key, said.get(key))
    index = choice.get("index")
    choice_at = index if isinstance(index, int) else 0
    for position, call in enumerate(members(said, "tool_calls")):
        facts.add_text("arguments", member(call, "function", "custom").get("arguments"))
        index = call.get("index")
        facts.call((choice_at, index if isinstance(index, int) else position), call.get("id"))
    if member(said, "function_call"):
        facts.call((choice_at, "function"))


def _read_usage(message: Message, facts: Facts) -> None:
    """Where chunks carry usage: OpenAI `usage`, Groq `x_groq.usage` (also without include_usage), Moonshot in a choice,
    llama.cpp `timings`."""
    groq = member(message, "x_groq")
    facts.error = facts.error or error_kind(groq)
    figures = member(message, "usage") or member(groq, "usage")
    choices = members(message, "choices")
    if not figures and choices:
        figures = member(choices[0], "usage")
    usage = usage_of(figures, facts.model) or llamacpp.usage_of(message)
    _read_tier(message, figures, facts)
    if usage is None:
        return
    running = "delta" in choices[0] and facts.finish_reason is None if choices else False
    facts.report(usage, Stage.RUNNING if running else Stage.FINAL)


def _read_response(response: Message, facts: Facts) -> None:
    """A Responses object: alone, or inside an event; the Realtime API's `response.done` holds a similar one."""
    facts.generated = True
    facts.name(model=response.get("model"), provider_id=response.get("id"))
    facts.error = facts.error or error_kind(response)
    status = text(response.get("status"))
    if status not in _RUNNING_STATES:
        facts.finish(member(response, "incomplete_details").get("reason") or status)
        measured = facts.text_bytes > 0
        for position, item in enumerate(members(response, "output")):
            _count_call(item, position, facts)
            for part in members(item, "content") if not measured else ():
                facts.add_text("text", part.get("text"))
    figures = member(response, "usage")
    _read_tier(response, figures, facts)
    usage = usage_of(figures, facts.model)
    if usage is not None:
        searches = member(member(response, "tool_usage"), "web_search")
        usage.web_searches = tokens(searches, "num_requests")
        facts.report(usage, Stage.FINAL)


def _count_call(item: Message, position: object, facts: Facts) -> None:
    """Items of a response that are calls: of functions, and of the tools that run at OpenAI."""
    if isinstance(position, int) and (text(item.get("type")) or "").endswith("_call"):
        facts.call(("output", position))


def _read_tier(message: Message, figures: Message, facts: Facts) -> None:
    """The tier that really served the call; the last one said counts."""
    tier = text(message.get("service_tier")) or text(figures.get("service_tier"))
    facts.usage.service_tier = tier or facts.usage.service_tier


def usage_of(figures: Message, model: str | None = None) -> Usage | None:
    """A `usage` object of any member of the family; None when it holds no figure.

    Chat names the totals `prompt_tokens` and `completion_tokens`, Responses, images and audio `input_tokens` and
    `output_tokens`. Cached and reasoning tokens are parts of the totals. OpenAI's cache writes have one price whatever
    their lifetime and stand under `cache_write_5m`. DeepSeek reports cached input as `prompt_cache_hit_tokens`. What
    some let their models think without counting it as output is added to it (see `_with_thoughts`).
    """
    given = first(figures, "prompt_tokens", "input_tokens")
    made = first(figures, "completion_tokens", "output_tokens")
    seconds = amount(figures.get("seconds")) if figures.get("type") == "duration" else None
    cost = _cost(figures)
    if given is None and made is None and seconds is None:
        total = first(figures, "total_tokens")
        if total is None and cost is None:
            return None
        given = total
    inside = member(figures, "prompt_tokens_details", "input_tokens_details", "input_token_details")
    outside = member(figures, "completion_tokens_details", "output_tokens_details", "output_token_details")
    hits = first(inside, "cached_tokens")
    reasoning, total = tokens(outside, "reasoning_tokens"), tokens(figures, "total_tokens")
    made, reasoning = _with_thoughts(given or 0, made or 0, total, reasoning, model)
    return Usage(
        input=given or 0,
        output=made,
        cached=tokens(figures, "prompt_cache_hit_tokens", "cached_tokens") if hits is None else hits,
        cache_write_5m=tokens(inside, "cache_write_tokens"),
        input_audio=tokens(inside, "audio_tokens"),
        reasoning=reasoning,
        output_audio=tokens(outside, "audio_tokens"),
        audio_seconds=float(seconds or amount(figures.get("prompt_audio_seconds")) or 0),
        cost_reported_pico=cost,
    )


def _with_thoughts(given: int, made: int, total: int, reasoning: int, model: str | None) -> tuple[int, int]:
    """The whole output, and how much of it is reasoning. Which of the two ways of counting it is, the total shows.

    xAI counts reasoning beside the completion (xAI: "Consumption and rate limits"), and Gemini's thoughts stand in the
    total alone where its OpenAI-compatible API reports them. For others, what the total has beyond its parts may be
    anything.
    """
    beyond = total - given - made
    thought = beyond > 0 and (beyond == reasoning or (reasoning == 0 and model is not None and "gemini" in model))
    return (made + beyond, beyond) if thought else (made, reasoning)


def _cost(figures: Message) -> int | None:
    """The provider's own price in picodollars: OpenRouter `cost` (with the customer's own upstream key that is only the
    fee, the rest stands in `cost_details`), Perplexity `cost.total_cost`, xAI `cost_in_usd_ticks`."""
    ticks = first(figures, "cost_in_usd_ticks")
    if ticks is not None:
        return ticks * _TICK
    cost = amount(figures.get("cost"))
    if cost is None:
        cost = amount(member(figures, "cost").get("total_cost"))
    if cost is None:
        return None
    if figures.get("is_byok") is True:
        cost += amount(member(figures, "cost_details").get("upstream_inference_cost")) or 0
    return pico(cost)
