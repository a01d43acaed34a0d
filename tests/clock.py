"""Clocks for tests: one that moves when told, and an event loop whose timers fire without waiting."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class ManualClock:
    """A clock that stands still until `advance` is called; fits wherever a `clock: Callable[[], float]` is wanted."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """The time in seconds."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Moves on by `seconds`; a clock never goes back."""
        if seconds < 0:
            raise ValueError(f"a clock cannot go back by {-seconds} s")
        self.now += seconds


class Deadlock(AssertionError):
    """Nothing is ready and no timer is set, so the program would wait for ever. Lists the waiting tasks."""


class _TimerSelector(selectors.BaseSelector):
    """Answers the loop's "wait at most this long" by moving its clock instead of waiting."""

    def __init__(self, jump: Callable[[float | None], float | None]) -> None:
        self._real = selectors.DefaultSelector()
        self._jump = jump
        self.sealed = False

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        if self.sealed:
            raise RuntimeError("VirtualLoop has no sockets: real I/O cannot be played in virtual time")
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        return ready or self._real.select(self._jump(timeout))

    def close(self) -> None:
        self._real.close()

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose `time()` jumps to the next timer as soon as nothing is ready.

    `jitter()` gives seconds by which a timer fires late, called once per jump, so that code which adds up sleeps can be
    seen to drift. Threads (`asyncio.to_thread`) run in real time while the virtual clock stands still. Sockets are
    refused. `jumps` counts how often time moved.
    """

    def __init__(self, jitter: Callable[[], float] | None = None, *, start: float = 1000.0) -> None:
        self._now = start
        self._jitter = jitter
        self._threads = 0
        self.jumps = 0
        selector = _TimerSelector(self._jump)
        super().__init__(selector)
        selector.sealed = True

    def time(self) -> float:
        """Virtual seconds; starts at `start`, not at 0, so that "0 means never" mistakes show."""
        return self._now

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """As the base class; until the thread is done the loop really waits for it."""
        future = super().run_in_executor(executor, func, *args)
        self._threads += 1
        future.add_done_callback(self._thread_done)
        return future

    async def shutdown_default_executor(self, *args: Any) -> None:
        """As the base class, whose helper thread is waited for in real time too."""
        self._threads += 1
        try:
            await super().shutdown_default_executor(*args)
        finally:
            self._threads -= 1

    def _thread_done(self, _: asyncio.Future[T]) -> None:
        self._threads -= 1

    def _jump(self, timeout: float | None) -> float | None:
        """Moves the clock to the next timer; says how long the selector must really wait."""
        if timeout is not None and timeout <= 0:
            return 0.0
        if self._threads:
            return None
        if timeout is None:
            raise Deadlock(f"nothing is ready and no timer is set at {self._now:g} s; waiting: {self._waiting()}")
        self._now += timeout + (self._jitter() if self._jitter else 0.0)
        self.jumps += 1
        return 0.0

    def _waiting(self) -> str:
        places = []
        for task in asyncio.all_tasks(self):
            stack = task.get_stack(limit=1)
            place = f"{stack[0].f_code.co_filename}:{stack[0].f_lineno}" if stack else "no frame"
            places.append(f"{task.get_name()} at {place}")
        return "; ".join(sorted(places)) or "no task"


def run_virtual(coro: Coroutine[Any, Any, T], *, jitter: Callable[[], float] | None = None) -> T:
    """Runs a coroutine to its end in virtual time: an hour of timers takes milliseconds.

    Must not be called while a loop runs, so from a plain `def test_...`. Raises `Deadlock` where real time would hang.
    """
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(jitter)) as runner:
        return runner.run(coro)
