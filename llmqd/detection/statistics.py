"""How detection fares, in figures: its own names, and those that other proxies use for the same."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Statistics:
    """Counts since the start. `lookups` are calls that were looked for, `lookup_seconds` what that took in all."""

    created: int = 0
    continued: int = 0
    exact: int = 0
    fuzzy: int = 0
    retried: int = 0
    fragmented: int = 0
    explicit: int = 0
    lookups: int = 0
    lookup_seconds: float = 0.0
    recalled: int = 0
    heard: int = 0

    def shown(self, *, active: int, expired: int, evicted: int, max_sessions: int, ttl: float) -> dict[str, float]:
        """Everything by name, for people and programs.

        `fragmented` are calls that carried a history and still began a session, `recalled` sessions that the database
        remembered, `heard` answers that other daemons told of. The names from `sessions_created` on are those that LLM
        proxies with a session cache have.
        """
        hits = self.exact + self.retried + self.fuzzy
        return {
            "active": active,
            "created": self.created,
            "continued": self.continued,
            "expired": expired,
            "evicted": evicted,
            "exact": self.exact,
            "fuzzy": self.fuzzy,
            "retried": self.retried,
            "explicit": self.explicit,
            "fragmented": self.fragmented,
            "recalled": self.recalled,
            "heard": self.heard,
            "lookups": self.lookups,
            "lookup_us": round(self.lookup_seconds / self.lookups * 1e6, 3) if self.lookups else 0.0,
            "sessions_created": self.created,
            "sessions_expired": expired,
            "sessions_fragmented": self.fragmented,
            "cache_hits": hits,
            "cache_misses": self.created,
            "fuzzy_matches": self.fuzzy,
            "active_sessions": active,
            "max_sessions": max_sessions,
            "session_ttl_seconds": ttl,
        }
