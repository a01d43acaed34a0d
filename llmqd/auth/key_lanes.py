"""Keeps client keys within their own rates: calls beyond them wait in a lane of their key first."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self

from llmqd.background import end, obituary
from llmqd.config.limits import Limits
from llmqd.config.model import Key, Queue
from llmqd.errors import LaneDead
from llmqd.lane.lane import Lane
from llmqd.lane.throttle import Throttle

if TYPE_CHECKING:
    from llmqd.auth.key import ClientKey
    from llmqd.events.kinds import Event

logger = logging.getLogger(__name__)


class KeyLanes:
    """Owns a lane for each client key with `rpm` or `tpm` that has called. An async context manager: leaving it ends
    their workers. `clock` is monotonic, `wall` Unix time, both in seconds. `make` is as for Lanes.
    """

    def __init__(
        self,
        queue: Queue,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        make: Callable[..., Lane] = Lane,
    ) -> None:
        self._queue = queue
        self._clock = clock
        self._wall = wall
        self._make = make
        self._lanes: dict[str, tuple[ClientKey, Lane]] = {}
        self._workers: dict[str, asyncio.Task[None]] = {}
        self._closed = False

    def replace(self, queue: Queue) -> None:
        """Puts other settings of the queue in force."""
        self._queue = queue
        for key, lane in self._lanes.values():
            lane.retune(_limited(key), queue, learns=False)

    def lane(self, key: ClientKey) -> Lane | None:
        """The lane of this key as it is now; None where it has no rate of its own."""
        known = self._lanes.get(key.name)
        if known is None:
            if not (key.rpm or key.tpm):
                return None
            lane = self._open(key)
        else:
            before, lane = known
            if (before.rpm, before.tpm) != (key.rpm, key.tpm):
                lane.retune(_limited(key), self._queue, learns=False)
        self._lanes[key.name] = key, lane
        return lane

    def forget(self, name: str) -> None:
        """The key of this name is of no use any more; its lane goes as soon as it is empty."""
        known = self._lanes.get(name)
        if known is not None and not known[1].load:
            del self._lanes[name]
            self._workers.pop(name).cancel()

    def close(self) -> None:
        """Sends everybody who waits away with ShuttingDown."""
        self._closed = True
        for lane in self:
            lane.close()

    async def answer(self) -> None:
        """Returns once every worker loop has come round. Raises LaneDead when one has ended."""
        for worker in self._workers.values():
            if worker.done():
                raise LaneDead(f"the worker loop of {worker.get_name()} has ended")
        await asyncio.gather(*(lane.answer() for lane in self))

    def __iter__(self) -> Iterator[Lane]:
        return iter([lane for _, lane in self._lanes.values()])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await end(*self._workers.values())

    def _open(self, key: ClientKey) -> Lane:
        name = f"key {key.name}"
        limited = _limited(key)
        throttle = Throttle(limited.limits, learns=False, noise=random.random, wall_offset=self._wall() - self._clock())
        lane = self._make(name, "", limited, self._queue, throttle=throttle, clock=self._clock, announce=_untold)
        worker = self._workers[key.name] = asyncio.get_running_loop().create_task(lane.work(), name=f"lane {name}")
        worker.add_done_callback(obituary(logger, f"the worker loop of {worker.get_name()} has died", logging.CRITICAL))
        if self._closed:
            lane.close()
        return lane


def _limited(key: ClientKey) -> Key:
    """A client key as a lane knows keys: a minute's calls may come at once, but never more in any 60 seconds."""
    burst = max(int(key.rpm), 1)
    limits = Limits(requests_per_minute=key.rpm, tokens_per_minute=key.tpm, burst=burst, algorithm="sliding")
    return Key(name=key.name, limits=limits)


def _untold(event: Event) -> None:
    """The lane of the upstream tells what happens to a call; twice would confuse."""
