"""What is logged hundreds of times a second: messages with fields, of which no records need be made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Plain(NamedTuple):
    """Messages of one level (as logging's) and one logger, `said` in one place with the fields of each.

    What a message holds beside words of ours and numbers is among its fields, and no field is named as a secret is.
    """

    said: Sequence[tuple[str, Mapping[str, Any]]]
    level: int
    name: str
    file: str
    line: int
    function: str

    def texts(self) -> list[str]:
        """All in them that may come from outside."""
        return [value for _, fields in self.said for value in fields.values() if value.__class__ is str]
