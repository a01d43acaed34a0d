"""The middleware `printer`: a line in the log for each request and each answer, with their bodies where wanted."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmqd.middleware.sighting import Asked, Sighting

logger = logging.getLogger("llmqd.printer")

_LONGEST = 4096
"""Characters of a body in a line."""


class Printer:
    """Writes `→ Request: POST /v1/x` and `← Response: 200 (12.34ms)`."""

    def __init__(self, *, requests: bool = True, responses: bool = True, body: bool = False) -> None:
        self._requests = requests
        self._responses = responses
        self._body = body

    def request(self, asked: Asked) -> None:
        """A call has come."""
        if self._requests:
            body = f" {_text(asked.body)}" if self._body and asked.body is not None else ""
            logger.info(
                "→ Request: %s %s%s", asked.method, asked.path, body, extra={"fields": {"request_id": asked.id}}
            )

    def response(self, sighting: Sighting) -> None:
        """Its answer has ended."""
        if not self._responses:
            return
        asked, answered = sighting.asked, sighting.answered
        body = f" {_text(answered.body)}" if self._body and answered.chunks else ""
        status = "none" if answered.status is None else str(answered.status)
        left = ", the client left" if answered.left else ""
        logger.info(
            "← Response: %s (%.2fms%s)%s",
            status,
            answered.duration_ms,
            left,
            body,
            extra={"fields": {"request_id": asked.id}},
        )

    def close(self) -> None:
        """Nothing is held."""


def _text(body: bytes) -> str:
    text = body[: 4 * _LONGEST].decode("utf-8", "replace")
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
