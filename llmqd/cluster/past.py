"""What a lane has let through in the last minute, in small steps: from it another daemon can go on counting."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from llmqd.usage import LaneUsage

if TYPE_CHECKING:
    from llmqd.usage import Usage

KEPT = 65.0
"""Seconds: a little more than the longest window but a day's."""


class Step:
    """Calls to one model within a step of time. `last` is when the last of them went."""

    __slots__ = ("alone", "cached", "calls", "first", "input", "last", "model", "output")

    def __init__(self, model: str, at: float, *, alone: bool = False) -> None:
        self.model = model
        self.first = self.last = at
        self.alone = alone
        self.calls = self.input = self.output = self.cached = 0.0


class Past:
    """The steps of one lane, oldest first. `step` is their length in seconds; times are of any one clock."""

    def __init__(self, step: float = 0.25) -> None:
        self._step = step
        self._steps: deque[Step] = deque()

    def add(self, model: str, at: float, tokens: tuple[float, float], *, calls: float = 1, alone: bool = False) -> None:
        """Calls have gone that are expected to take so many tokens, in and out. `alone`: nobody else was told."""
        found = None
        for one in reversed(self._steps):
            if at - one.first >= self._step:
                break
            if one.model == model and one.alone == alone:
                found = one
                break
        if found is None:
            found = Step(model, at, alone=alone)
            self._steps.append(found)
        found.last = max(found.last, at)
        found.calls += calls
        found.input += tokens[0]
        found.output += tokens[1]
        while self._steps and self._steps[0].last < at - KEPT:
            self._steps.popleft()

    def settle(self, model: str, at: float, tokens: tuple[float, float], usage: Usage | None, *, counted: bool) -> None:
        """What went at `at` took what `usage` says instead of `tokens`; nothing at all where it is not `counted`."""
        if counted and (usage is None or usage.source == "unknown"):
            return
        for one in reversed(self._steps):
            if one.first <= at <= one.last and one.model == model:
                if counted and usage is not None:
                    one.input += usage.input - tokens[0]
                    one.output += usage.output - tokens[1]
                    one.cached += usage.cached
                else:
                    one.calls -= 1
                    one.input -= tokens[0]
                    one.output -= tokens[1]
                return

    def export(self, since: float, offset: float = 0.0, *, alone: bool | None = None) -> list[list[Any]]:
        """The steps that end after `since`, as plain data, their times plus `offset`; of one kind where it is named."""
        return [
            [one.model, one.last + offset, one.calls, one.input, one.output, one.cached]
            for one in self._steps
            if one.last > since and (alone is None or one.alone == alone)
        ]

    def told(self) -> None:
        """Everything in it is known to others now."""
        for one in self._steps:
            one.alone = False

    def __iter__(self) -> Iterator[Step]:
        return iter(self._steps)


def usages(steps: Iterable[list[Any]], part: float = 1.0) -> list[LaneUsage]:
    """Exported steps as lanes take them in, in the order of time; of each only a `part`."""
    return [
        LaneUsage("", model, last, calls * part, input_ * part, output * part, cached * part)
        for model, last, calls, input_, output, cached in sorted(steps, key=lambda step: float(step[1]))
        if calls > 0
    ]
