"""The place of a row in the order in which LiteLLM's calls are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """The place of a row in the order in which they are read: when the call began (UTC), and its id."""

    at: datetime
    request_id: str

    def __str__(self) -> str:
        return f"{self.at.isoformat()} {self.request_id}"

    @classmethod
    def parse(cls, text: str) -> Key:
        """Reads `str(key)`. Raises ValueError."""
        at, _, request_id = text.partition(" ")
        return cls(datetime.fromisoformat(at), request_id)


def key_of(row: Mapping[str, Any]) -> Key:
    """The place of a row."""
    at: datetime = row["startTime"]
    return Key(at if at.tzinfo else at.replace(tzinfo=UTC), row["request_id"])


BEGINNING = Key(datetime(1970, 1, 1, tzinfo=UTC), "")
