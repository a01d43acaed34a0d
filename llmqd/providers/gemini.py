"""Usage in Google's Gemini format: thoughts beside the candidates, tool prompts beside the prompt, cached inside it.

Facts are those of the Gemini API reference (GenerateContentResponse.UsageMetadata) and Vertex AI's.
"""

from __future__ import annotations

from llmqd.providers.facts import Facts, Message, Stage, count, first, member, members, text, tokens
from llmqd.usage import Usage

_MARKS = ("usageMetadata", "candidates", "promptFeedback", "modelVersion")


def matches(message: Message) -> bool:
    """Whether this is a GenerateContentResponse, whole or as a chunk."""
    return any(mark in message for mark in _MARKS)


def read(message: Message, facts: Facts) -> None:
    """Merge one body or chunk. Every chunk reports cumulative usage, so the last one counts.

    The format has no end marker, only the end of the body: the chunk with a finish reason is normally the last, but
    what comes after it still counts. So `finished` is never set.
    """
    facts.generated = facts.generated or matches(message)
    facts.name(model=message.get("modelVersion"), provider_id=message.get("responseId"))
    for candidate in members(message, "candidates"):
        facts.finish(candidate.get("finishReason"))
        for part in members(member(candidate, "content"), "parts"):
            facts.add_text("text", part.get("text"))
            # A call that is streamed bears its name in its first piece.
            if member(part, "functionCall").get("name") or member(part, "executableCode"):
                facts.call()
    facts.finish(member(message, "promptFeedback").get("blockReason"))
    usage = usage_of(member(message, "usageMetadata"))
    if usage is not None:
        facts.report(usage, Stage.RUNNING if facts.finish_reason is None else Stage.FINAL)


def usage_of(figures: Message) -> Usage | None:
    """A `usageMetadata` object (the Live API says response instead of candidates); None when it holds no figure."""
    prompt = first(figures, "promptTokenCount")
    made = first(figures, "candidatesTokenCount", "responseTokenCount")
    thoughts = tokens(figures, "thoughtsTokenCount")
    total = first(figures, "totalTokenCount")
    if prompt is None and made is None and total is None:
        return None
    given = (prompt or 0) + tokens(figures, "toolUsePromptTokenCount")
    if prompt is None and total is not None:
        given = max(0, total - (made or 0) - thoughts)
    tier = text(figures.get("serviceTier"))
    return Usage(
        input=given,
        output=(made or 0) + thoughts,
        cached=tokens(figures, "cachedContentTokenCount"),
        input_audio=_audio(figures, "promptTokensDetails"),
        reasoning=thoughts,
        output_audio=_audio(figures, "candidatesTokensDetails") or _audio(figures, "responseTokensDetails"),
        service_tier=tier.lower() if tier else None,
    )


def _audio(figures: Message, key: str) -> int:
    return sum(
        count(detail.get("tokenCount")) or 0 for detail in members(figures, key) if detail.get("modality") == "AUDIO"
    )
