"""A turn as it is held where its call waits: from when it may be used, until when, and whether it was."""

from __future__ import annotations

from llmqd.cluster.arbiter import VALID


class HeldTurn:
    """A turn that the owner of the lane gave: not before `moment`, and not after `expires` (monotonic)."""

    __slots__ = ("expires", "moment", "number", "ready", "sent")

    def __init__(self, number: int, moment: float, valid: float = VALID, *, sent: float | None = None) -> None:
        self.number = number
        self.moment = moment
        self.expires = moment + valid
        self.ready = moment
        self.sent = sent
