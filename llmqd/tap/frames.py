"""Cuts Amazon Bedrock's event streams into the messages that their frames stand for."""

from __future__ import annotations

from llmqd.messages.eventstream import PRELUDE_SIZE, frame_size, frames, message_in
from llmqd.tap.sse import Event


class FrameSplitter:
    """The events of `application/vnd.amazon.eventstream`, as JSON.

    A frame larger than `max_event` is skipped. Behind a broken one nothing can be found again: the rest counts as one
    that was skipped.
    """

    def __init__(self, max_event: int) -> None:
        self.overflowed = 0
        self._max_event = max_event
        self._held = bytearray()
        self._skip = 0
        self._broken = False

    def feed(self, chunk: bytes) -> list[Event]:
        """Take the next bytes; return the messages completed by them."""
        if self._broken:
            return []
        skipped = min(self._skip, len(chunk))
        self._skip -= skipped
        self._held += chunk[skipped:]
        whole = self._whole()
        data = bytes(self._held[:whole])
        del self._held[:whole]
        self._pass_over_large()
        return [(b"", message) for event in frames(data) if (message := message_in(*event))]

    def flush(self) -> list[Event]:
        """The stream has ended: a frame without its end cannot be read."""
        return []

    def _whole(self) -> int:
        """How many bytes are frames that are whole."""
        at = 0
        while at + PRELUDE_SIZE <= len(self._held):
            size = frame_size(self._held, at)
            if size is None:
                self._broken = True
                self.overflowed += 1
                break
            if at + size > len(self._held):
                break
            at += size
        return at

    def _pass_over_large(self) -> None:
        if self._broken:
            self._held.clear()
        elif len(self._held) >= PRELUDE_SIZE and (size := frame_size(self._held) or 0) > self._max_event:
            self.overflowed += 1
            self._skip = size - len(self._held)
            self._held.clear()
