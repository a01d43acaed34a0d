"""`/api/v1/media/{digest}`: the bytes of a picture, sound or file that was said, which messages only name."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from llmqd.errors import NotFound

if TYPE_CHECKING:
    from llmqd.store.ledger import Ledger
    from llmqd.web.api.endpoint import Asked

_DIGEST = re.compile(r"[0-9a-f]{16}")


class Medium(Struct):
    """The bytes of a picture, sound or file as base64; its type stands in the messages that have it."""

    digest: str
    size: int
    data: str


class Media:
    """The handler."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def show_medium(self, asked: Asked[Any, Any]) -> Medium:
        """The bytes of one medium, by the `digest` that stands in a part of a message."""
        digest = asked.path["digest"]
        content = await self._ledger.medium(digest) if _DIGEST.fullmatch(digest) else None
        if content is None:
            raise NotFound(f"the ledger has no medium {digest!r} (any more)")
        return Medium(digest, len(content), base64.b64encode(content).decode())
