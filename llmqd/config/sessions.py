"""The settings of `[sessions]`: which ids are understood, and how the session of a call without one is found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from llmqd.config.kinds import Duration, Flag, Integer, Listing, Text
from llmqd.config.net_kinds import HeaderName
from llmqd.config.setting import setting

_SESSION_HEADERS = [
    "X-Claude-Code-Session-Id",
    "X-Codex-Session-Id",
    "session_id",
    "session-id",
    "X-OpenCode-Session",
    "X-Session-Affinity",
    "X-Litellm-Session-Id",
    "X-Litellm-Trace-Id",
    "X-Session-Id",
]
"""Of Claude Code, Codex, OpenCode, LiteLLM and others; x-client-request-id is per request, so none."""

FORMER_NAMES: Mapping[str, str | None] = MappingProxyType(
    {
        "enabled": "detect",
        "max_sessions": "max",
        "session_ttl_seconds": "ttl",
        "enable_fuzzy_matching": "fuzzy",
        "similarity_threshold": None,
        "max_messages_for_new_session": None,
    }
)
"""What other proxies with session detection call these settings; None: it means nothing here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sessions:
    """How the session of a call is recognised."""

    headers: tuple[str, ...] = setting(
        Listing(HeaderName(taken=("x-client-request-id", "x-llmqd-session"))),
        _SESSION_HEADERS,
        "Request headers that carry a session id, the most trusted first. X-LLMQD-Session goes before all of them.",
    )
    max_id_length: int = setting(
        Integer(least=16, most=4096), 256, "Longest session id accepted, in characters; longer ones are ignored."
    )
    detect: bool = setting(
        Flag(),
        True,
        "Find the session of a call that names none: it joins the one whose answers it carries back.\n"
        "Without, such a call has no session.",
    )
    fuzzy: bool = setting(
        Flag(),
        True,
        "Find it also where the history is not exactly what was said: cut, summed up, edited, or a sub-agent's.",
    )
    max: int = setting(
        Integer(least=1, most=10**7),
        10000,
        "Sessions kept in memory, the latest used. The others are looked up in the database when they go on.",
    )
    ttl: float = setting(
        Duration(least=1), "1h", "How long a session that is not used is kept in memory; the database knows it longer."
    )
    reset_phrases: tuple[str, ...] = setting(
        Listing(Text()),
        [],
        "A last user message that is nothing but one of these begins a session anew, in any case of letters.",
    )
