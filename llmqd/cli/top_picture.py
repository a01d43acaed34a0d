"""What `llmqd top` knows and has chosen: the queue as last seen, sums of what happened, the selection. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from llmqd.cli.table import cell

RECENT = 50
"""Events that are kept to be shown."""
_PRIORITIES = range(10)


@dataclass(frozen=True, slots=True)
class Ask:
    """What the operator wants done: with a waiting call, or with a lane. `done` says it afterwards."""

    action: Literal["pause", "resume", "priority", "cancel"]
    what: str
    done: str
    priority: int = 0


class Picture:
    """One picture of a daemon at `place`. Every method takes news and returns at once."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.connected = True
        self.lanes: list[Mapping[str, Any]] = []
        self.waiting: list[Mapping[str, Any]] = []
        self.running: list[Mapping[str, Any]] = []
        self.total = 0
        self.running_total = 0
        self.recent: deque[Mapping[str, Any]] = deque(maxlen=RECENT)
        self.cost: Decimal | None = None
        self.calls = self.tokens = self.errors = 0
        self.message = ""
        self.sure: Ask | None = None
        """What waits for a yes."""
        self._lane = ""
        self._call = ""
        self._place = 0

    def looked(self, queue: Mapping[str, Any]) -> None:
        """An answer of `GET /queue`. The selection stays on its call, and when that is gone, on its place."""
        self.lanes, self.waiting, self.running = queue["lanes"], queue["waiting"], queue["running"]
        self.total, self.running_total = queue["total"], queue["running_total"]
        names = [lane["lane"] for lane in self.lanes]
        if self._lane not in names:
            self._lane = names[0] if names else ""
        ids = [call["request_id"] for call in self.waiting]
        if self._call in ids:
            self._place = ids.index(self._call)
        else:
            self._select(self._place)

    def spent(self, overview: Mapping[str, Any]) -> None:
        """An answer of `GET /api/v1/analytics/overview`, which counts what happened until now."""
        cost = overview["total_cost"]
        self.cost = None if cost is None else Decimal(str(cost))
        self.calls, self.errors = overview["total_requests"], overview["error_count"]
        self.tokens = overview["total_tokens"]

    def happened(self, event: Mapping[str, Any]) -> None:
        """An event of `GET /events`."""
        if event["type"] in ("queued", "started"):
            return
        self.recent.appendleft(event)
        if event["type"] == "finished":
            self.calls += 1
            self.errors += not 200 <= (event["http_status"] or 0) < 300
            self.tokens += (event["input_tokens"] or 0) + (event["output_tokens"] or 0)
            if event["cost_usd"] is not None:
                self.cost = (self.cost or Decimal(0)) + Decimal(event["cost_usd"])

    @property
    def call(self) -> Mapping[str, Any] | None:
        """The waiting call that is selected."""
        return next((call for call in self.waiting if call["request_id"] == self._call), None)

    @property
    def lane(self) -> Mapping[str, Any] | None:
        """The lane that is selected."""
        return next((lane for lane in self.lanes if lane["lane"] == self._lane), None)

    def pressed(self, key: str) -> Ask | Literal["quit"] | None:
        """What a key asks for; most only change what is shown."""
        if self.sure is not None:
            wish, self.sure = self.sure, None
            self.message = "" if key == "y" else "left as it is"
            return wish if key == "y" else None
        self.message = ""
        moves = {"up": -1, "k": -1, "down": 1, "j": 1, "pageup": -10, "pagedown": 10, "home": -(10**6), "end": 10**6}
        if key in moves:
            self._select(self._place + moves[key])
        elif key in ("tab", "right", "backtab", "left"):
            self._next_lane(1 if key in ("tab", "right") else -1)
        elif key == "q":
            return "quit"
        elif key == "p":
            return self._pause()
        elif key == "c":
            self._cancel()
        elif key in "+-=<>" or key.isdigit():
            return self._reprioritise(key)
        return None

    def _select(self, place: int) -> None:
        self._place = max(0, min(place, len(self.waiting) - 1))
        self._call = self.waiting[self._place]["request_id"] if self.waiting else ""

    def _next_lane(self, step: int) -> None:
        names = [lane["lane"] for lane in self.lanes]
        if names:
            self._lane = names[(names.index(self._lane) + step) % len(names)]

    def _pause(self) -> Ask | None:
        lane = self.lane
        if lane is None:
            self.message = "there is no lane to pause"
            return None
        name = cell(lane["lane"])
        if lane["paused"]:
            return Ask("resume", lane["lane"], f"{name} resumed")
        return Ask("pause", lane["lane"], f"{name} paused until resumed (p)")

    def _cancel(self) -> None:
        call = self.call
        if call is None:
            self.message = "no call waits"
            return
        self.sure = Ask("cancel", call["request_id"], f"{cell(call['request_id'])} cancelled")
        self.message = f"cancel {cell(call['request_id'])}? y: yes, any other key: no"

    def _reprioritise(self, key: str) -> Ask | None:
        call = self.call
        if call is None:
            self.message = "no call waits"
            return None
        wanted = int(key) if key.isdigit() else call["priority"] + (-1 if key in "+=<" else 1)
        if wanted not in _PRIORITIES:
            self.message = "0 is the first and 9 the last priority"
            return None
        return Ask("priority", call["request_id"], f"{cell(call['request_id'])}: priority {wanted}", wanted)
