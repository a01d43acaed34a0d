"""The Realtime-like WebSocket end of the fake upstream: echoes frames, answers `response.create`, closes on request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

USAGE = {
    "total_tokens": 20,
    "input_tokens": 12,
    "output_tokens": 8,
    "input_token_details": {"cached_tokens": 4, "text_tokens": 5, "audio_tokens": 7, "image_tokens": 0},
    "output_token_details": {"text_tokens": 3, "audio_tokens": 5},
}
"""The usage object of every `response.done`."""


class EchoSocket:
    """Bytes in, bytes out. Data frames come back as they were, fragmentation included. Text commands:

    `close:4001:some reason` closes with that code, `ping:payload` sends a ping, a JSON object of type
    `response.create` brings the events of a Realtime answer with usage. The first of `subprotocols` that the client
    offers is selected.
    """

    def __init__(self, subprotocols: Sequence[str] = ()) -> None:
        self._subprotocols = subprotocols
        self._protocol = ServerProtocol(select_subprotocol=lambda _, offered: self._select(offered), max_size=None)
        self._frames: list[tuple[str, bytes]] = []

    @property
    def done(self) -> bool:
        """Whether the TCP connection is to be closed now."""
        return self._protocol.close_expected()

    def receive(self, data: bytes) -> list[bytes]:
        """Takes bytes from the client, returns what goes back."""
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._protocol.send_response(self._protocol.accept(event))
            elif isinstance(event, Frame):
                self._frame(event)
        return [out for out in self._protocol.data_to_send() if out]

    def take_frames(self) -> list[tuple[str, bytes]]:
        """The frames received since the last call, as (opcode name, payload)."""
        frames, self._frames = self._frames, []
        return frames

    def end(self) -> int | None:
        """The client is gone; the close code it gave, None without one."""
        return self._protocol.close_rcvd.code if self._protocol.close_rcvd else None

    def _select(self, offered: Sequence[Subprotocol]) -> Subprotocol | None:
        return next((name for name in offered if name in self._subprotocols), None)

    def _frame(self, frame: Frame) -> None:
        payload = bytes(frame.data)
        self._frames.append((Opcode(frame.opcode).name.lower(), payload))
        if frame.opcode is Opcode.BINARY:
            self._protocol.send_binary(payload, frame.fin)
        elif frame.opcode is Opcode.CONT:
            self._protocol.send_continuation(payload, frame.fin)
        elif frame.opcode is Opcode.TEXT and frame.fin:
            self._text(payload)
        elif frame.opcode is Opcode.TEXT:
            self._protocol.send_text(payload, frame.fin)

    def _text(self, payload: bytes) -> None:
        if payload.startswith(b"close:"):
            _, code, reason = payload.decode().split(":", 2)
            self._protocol.send_close(int(code), reason)
        elif payload.startswith(b"ping:"):
            self._protocol.send_ping(payload[5:])
        elif payload.startswith(b"{") and orjson.loads(payload).get("type") == "response.create":
            for event in realtime_answer():
                self._protocol.send_text(orjson.dumps(event))
        else:
            self._protocol.send_text(payload)


def realtime_answer() -> list[dict[str, Any]]:
    """The events of one Realtime answer (platform.openai.com, Realtime server events), usage in the last."""
    response: dict[str, Any] = {
        "object": "realtime.response",
        "id": "resp_1",
        "status": "in_progress",
        "output": [],
        "usage": None,
    }
    done = {**response, "status": "completed", "usage": USAGE}
    return [
        {"type": "response.created", "event_id": "event_1", "response": response},
        {"type": "response.output_text.delta", "event_id": "event_2", "response_id": "resp_1", "delta": "Hello"},
        {"type": "response.done", "event_id": "event_3", "response": done},
    ]
