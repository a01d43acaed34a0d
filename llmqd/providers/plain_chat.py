"""The whole answer of a chat that is nothing but a text, as most are, read in one step; all others are read in full."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

_Count = Annotated[int, msgspec.Meta(ge=0, le=10**12)]
_Word = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
_Nothing = Annotated[list[Any], msgspec.Meta(max_length=0)] | None


class GivenDetails(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """Parts of what was given."""

    cached_tokens: _Count = 0
    audio_tokens: _Count = 0


class MadeDetails(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """Parts of what was made."""

    reasoning_tokens: _Count = 0
    audio_tokens: _Count = 0
    accepted_prediction_tokens: _Count = 0
    rejected_prediction_tokens: _Count = 0


class Figures(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """What was used."""

    prompt_tokens: _Count
    completion_tokens: _Count
    total_tokens: _Count = 0
    prompt_tokens_details: GivenDetails = GivenDetails()
    completion_tokens_details: MadeDetails = MadeDetails()


class _Said(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    content: Annotated[str, msgspec.Meta(min_length=1)]
    role: str = "assistant"
    refusal: None = None
    annotations: _Nothing = None
    tool_calls: _Nothing = None
    function_call: None = None
    audio: None = None
    reasoning_content: None = None


class _Choice(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    message: _Said
    finish_reason: _Word
    index: int = 0
    logprobs: None = None


class PlainChat(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """A body of the chat API of OpenAI and of those like it, with one choice that only holds a text."""

    id: _Word
    model: _Word
    choices: tuple[_Choice]
    usage: Figures
    object: str = ""
    created: int = 0
    system_fingerprint: str | None = None
    service_tier: _Word | None = None

    @property
    def text(self) -> str:
        """What was said; never empty."""
        return self.choices[0].message.content

    @property
    def finish_reason(self) -> str:
        """Why it ended."""
        return self.choices[0].finish_reason


_decode = msgspec.json.Decoder(PlainChat).decode


def plain_chat(body: bytes) -> PlainChat | None:
    """The answer in this body; None for any other, and for one that has anything beyond what is known here."""
    try:
        return _decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None
