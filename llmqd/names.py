"""Who calls, and for what, as the body of a call says it: user, agent, conversation and tags."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from llmqd.controls import parse_tags
from llmqd.session import packed_fields

_LONGEST = 256
"""Characters of a name; a longer one is passed over, since it was not meant for llmqd."""
# Claude Code writes `user_<hash>_account_<uuid>_session_<uuid>`, newer versions a JSON object.
_CLAUDE_USER = re.compile(r"^(user_[A-Za-z0-9]+)_account_.*_session_")
_UNUSABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Names:
    """What a body says; None and () where it says nothing of it."""

    agent: str | None = None
    user: str | None = None
    conversation: str | None = None
    tags: tuple[str, ...] = ()


NO_NAMES = Names()


def names_in(body: Mapping[str, Any]) -> Names:
    """The names in a JSON body, the first that is usable of each kind.

    Read are, beside the `metadata` that OpenAI, Anthropic and LiteLLM have: `user` and its successor
    `safety_identifier` (OpenAI), `tags` (LiteLLM), and `labels` (Gemini on Vertex AI), each of which is a tag.
    """
    if not body:
        return NO_NAMES
    metadata, labels = body.get("metadata"), body.get("labels")
    claimed: Mapping[str, Any] = metadata if isinstance(metadata, Mapping) else {}
    if not claimed and not isinstance(labels, Mapping) and not body.keys() & {"user", "safety_identifier", "tags"}:
        return NO_NAMES
    named = ",".join(f"{key}:{value}" for key, value in labels.items()) if isinstance(labels, Mapping) else ""
    return Names(
        agent=_first(claimed.get("agent_name"), claimed.get("agent")),
        user=_first(
            _person(claimed.get("user_id")), claimed.get("user"), body.get("user"), body.get("safety_identifier")
        ),
        conversation=_first(claimed.get("conversation_name"), claimed.get("conversation")),
        tags=_tags(claimed.get("tags")) or _tags(body.get("tags")) or _tags(named),
    )


def _first(*found: object) -> str | None:
    for each in found:
        if isinstance(each, str) and 0 < len(name := each.strip()) <= _LONGEST and not _UNUSABLE.search(name):
            return name
    return None


def _person(user_id: object) -> object:
    """The user alone, where an agent has packed its session into the same field."""
    if not isinstance(user_id, str):
        return None
    if (fields := packed_fields(user_id)) is not None:
        return _first(fields.get("account_uuid"), fields.get("device_id"))
    found = _CLAUDE_USER.match(user_id)
    return found[1] if found else user_id


def _tags(found: object) -> tuple[str, ...]:
    """Tags as a list or with commas between them, under the rules of X-LLMQD-Tags."""
    if isinstance(found, Iterable) and not isinstance(found, str | bytes | Mapping):
        found = ",".join(each.replace(",", " ") for each in found if isinstance(each, str))
    if not isinstance(found, str):
        return ()
    return tuple(tag for tag in parse_tags(found) if not _UNUSABLE.search(tag))
