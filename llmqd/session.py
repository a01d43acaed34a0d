"""Which session a call belongs to when the client says so: in its URL, a header, or a field of the body."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from llmqd.call import NO_SESSION, SessionRef
from llmqd.errors import BadHeader

SESSION_HEADER = "X-LLMQD-Session"

# Claude Code writes `user_<hash>_account_<uuid>_session_<uuid>` into metadata.user_id, newer versions a JSON object.
_CLAUDE_SESSION = re.compile(r"_session_([A-Za-z0-9-]{8,})$")
# Control characters, and what stands for bytes that are not UTF-8.
_UNUSABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def session_in_head(
    path_id: str | None, headers: Mapping[str, str], *, known_headers: Iterable[str], max_length: int
) -> SessionRef | None:
    """The session that a call names in its head; the first of path, own header, known headers wins. None without one.

    `known_headers` are headers of other tools that carry a session id. Raises BadHeader when an id given to llmqd by
    path or own header is unusable; an unusable foreign id is passed over, since it was not meant for llmqd.
    """
    if path_id is not None:
        return SessionRef(_own_id(path_id, "the session id in the path", max_length), "path")
    own = headers.get(SESSION_HEADER)
    if own is not None:
        return SessionRef(_own_id(own.strip(), SESSION_HEADER, max_length), "header")
    for name in known_headers:
        value = headers.get(name)
        if value is not None and _usable(value.strip(), max_length):
            return SessionRef(value.strip(), "header")
    return None


def session_in_body(body: Mapping[str, Any], *, max_length: int) -> SessionRef:
    """The session that a call names in its JSON body, where its head names none; one without an id where that does not
    either. An unusable id is passed over."""
    found = _from_body(body) if body else None
    return NO_SESSION if found is None or not _usable(found, max_length) else SessionRef(found, "body")


def _from_body(body: Mapping[str, Any]) -> str | None:
    conversation = body.get("conversation")
    if isinstance(conversation, Mapping):
        conversation = conversation.get("id")
    if isinstance(conversation, str):
        return conversation
    metadata = body.get("metadata")
    if isinstance(metadata, Mapping):
        claimed = _claude_session(metadata.get("user_id"))
        if claimed is not None:
            return claimed
    key = body.get("prompt_cache_key")
    return key if isinstance(key, str) else None


def _claude_session(user_id: object) -> str | None:
    if not isinstance(user_id, str):
        return None
    if (fields := packed_fields(user_id)) is not None:
        session = fields.get("session_id")
        return session if isinstance(session, str) else None
    found = _CLAUDE_SESSION.search(user_id)
    return found.group(1) if found else None


def packed_fields(user_id: str) -> Mapping[str, object] | None:
    """What newer versions of Claude Code pack into `metadata.user_id`; empty where it is no JSON, None for others."""
    if not user_id.startswith("{"):
        return None
    try:
        fields: Mapping[str, object] = orjson.loads(user_id)
    except orjson.JSONDecodeError:
        return {}
    return fields


def _usable(session_id: str, max_length: int) -> bool:
    return 0 < len(session_id) <= max_length and not _UNUSABLE.search(session_id)


def _own_id(session_id: str, where: str, max_length: int) -> str:
    if not _usable(session_id, max_length):
        raise BadHeader(f"{where} must be 1 to {max_length} characters of UTF-8 without control characters")
    return session_id
