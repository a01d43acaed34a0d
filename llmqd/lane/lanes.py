"""All lanes of the daemon: one for each upstream key, kept in step with the configuration."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from llmqd.background import end, obituary
from llmqd.errors import LaneDead
from llmqd.events.kinds import Event
from llmqd.lane.lane import Lane
from llmqd.lane.throttle import Throttle

if TYPE_CHECKING:
    from llmqd.config.model import Config, Key, Queue, Upstream
    from llmqd.usage import LaneUsage, Sample

logger = logging.getLogger(__name__)

_MAX_RETIRED = 32


class Lanes:
    """Owns every lane and its worker task. An async context manager: leaving it ends the workers.

    `clock` is monotonic, `wall` Unix time, both in seconds; `announce` is told every event. `make` takes what Lane
    does; where several daemons share their lanes, it makes such that do.

    A lane whose key disappears from the configuration gets no new calls; should the key come back, so does its lane,
    with all that it has used up.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        announce: Callable[[Event], object],
        make: Callable[..., Lane] = Lane,
    ) -> None:
        self._clock = clock
        self._wall = wall
        self._announce = announce
        self._make = make
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._retired: dict[tuple[str, str], Lane] = {}
        self._workers: dict[Lane, asyncio.Task[None]] = {}

    def apply(self, config: Config) -> None:
        """Makes the lanes those of `config`: new keys get a lane, known ones are retuned, gone ones retire."""
        wanted = {(upstream.name, key.name): (upstream, key) for upstream in config.upstreams for key in upstream.keys}
        for place in [place for place in self._lanes if place not in wanted]:
            self._retired[place] = self._lanes.pop(place)
        for place, (upstream, key) in wanted.items():
            if place in self._retired:  # the key is back: what it has used up is used up
                self._lanes[place] = self._retired.pop(place)
            if place in self._lanes:
                self._lanes[place].retune(key, config.queue, learns=upstream.learn)
            else:
                self._lanes[place] = self._open(upstream, key, config.queue)
        self._lanes = {place: self._lanes[place] for place in wanted}
        self._bury()

    def recall(self, past: Sequence[LaneUsage], samples: Sequence[Sample]) -> None:
        """Tells every lane what the ledger knows of its past, by its name, and of its upstream's models."""
        for lane in self._lanes.values():
            lane.recall(
                [each for each in past if each.lane == lane.name],
                [each for each in samples if each.upstream == lane.upstream],
            )

    def pick(self, upstream: str) -> Lane:
        """The lane of this upstream with the fewest calls waiting or running, an unpaused one if there is."""
        lanes = [lane for lane in self._lanes.values() if lane.upstream == upstream]
        if len(lanes) == 1:
            return lanes[0]
        return min(lanes, key=lambda lane: (lane.paused is not None, lane.load))

    def close(self) -> None:
        """Sends everybody who waits away with ShuttingDown; running calls go on."""
        for lane in self:
            lane.close()

    async def answer(self) -> None:
        """Returns once every worker loop has come round. Raises LaneDead when one has ended."""
        self._bury()
        for lane, worker in self._workers.items():
            if worker.done():
                raise LaneDead(f"the worker loop of lane {lane.name} has ended")
        await asyncio.gather(*(lane.answer() for lane in self._workers))

    def __iter__(self) -> Iterator[Lane]:
        """Every lane that still has calls or may get some."""
        yield from self._lanes.values()
        yield from (lane for lane in self._retired.values() if lane.load)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await end(*self._workers.values())
        self._workers.clear()

    def _open(self, upstream: Upstream, key: Key, queue: Queue) -> Lane:
        name = upstream.name if len(upstream.keys) == 1 else f"{upstream.name}/{key.name}"
        offset = self._wall() - self._clock()
        throttle = Throttle(key.limits, learns=upstream.learn, noise=random.random, wall_offset=offset)
        lane = self._make(
            name, upstream.name, key, queue, throttle=throttle, clock=self._clock, announce=self._announce
        )
        worker = asyncio.get_running_loop().create_task(lane.work(), name=f"lane {name}")
        worker.add_done_callback(obituary(logger, f"the worker loop of {worker.get_name()} has died", logging.CRITICAL))
        self._workers[lane] = worker
        return lane

    def _bury(self) -> None:
        """Ends the oldest of the empty lanes whose keys are gone; some are kept, as their keys may come back."""
        while len(self._retired) > _MAX_RETIRED:
            place = next((place for place, lane in self._retired.items() if not lane.load), None)
            if place is None:
                return
            self._workers.pop(self._retired.pop(place)).cancel()
