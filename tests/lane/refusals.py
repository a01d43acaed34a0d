"""What a lane that must find its limit meets in a played run: refusals, walls, errors; and the table of many runs."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

UNEXPLAINED, EXPLAINED = 4, 8
"""Refusals of one call that its client sees: so many without any hint, and with one."""


@dataclass(kw_only=True)
class Refusals:
    """Refusals in seconds since the start. `walls` are those that came apart: those of calls that were on their way
    together are one. `errors` counts the calls that were refused too often."""

    refused: list[float] = field(default_factory=list)
    walls: list[float] = field(default_factory=list)
    errors: int = 0
    _of_call: dict[int, int] = field(default_factory=dict, repr=False)
    _wall_at: float = -math.inf

    def passed(self, number: int) -> None:
        """A call was let through."""
        self._of_call.pop(number, None)

    def met(self, number: int, sent_at: float, now: float, *, explained: bool) -> bool:
        """A call that was sent at `sent_at` is refused now; whether it asks again."""
        self.refused.append(now)
        if sent_at > self._wall_at:
            self.walls.append(now)
            self._wall_at = now
        times = self._of_call[number] = self._of_call.get(number, 0) + 1
        if times < (EXPLAINED if explained else UNEXPLAINED):
            return True
        self.errors += 1
        self.passed(number)
        return False


CourseT = TypeVar("CourseT", bound=Refusals)


class Row(Protocol[CourseT]):
    """What is played, and judged, as a row of the table."""

    @property
    def name(self) -> str: ...

    def play(self, seed: int) -> CourseT: ...

    def is_met(self, course: CourseT) -> bool: ...

    def shares(self, courses: Sequence[CourseT]) -> str: ...


def print_table(cases: Iterable[Row[CourseT]], words: list[str], shares: str) -> None:
    """Prints the rows that bear every word; `seeds=3` plays each so often and shows the worst."""
    seeds = next((int(word.removeprefix("seeds=")) for word in words if word.startswith("seeds=")), 1)
    wanted = [word for word in words if not word.startswith("seeds=")]
    sys.stdout.write(f"{'upstream':48} {'429s':>5} {'walls':>5} {shares} {'errors':>6}\n")
    for case in cases:
        if not all(word in case.name for word in wanted):
            continue
        courses = [case.play(seed) for seed in range(seeds)]
        refused = max(len(course.refused) for course in courses)
        walls = max(len(course.walls) for course in courses)
        errors = max(course.errors for course in courses)
        missed = "" if all(case.is_met(course) for course in courses) else "missed"
        sys.stdout.write(f"{case.name:48} {refused:5} {walls:5} {case.shares(courses)} {errors:6} {missed}\n")
        sys.stdout.flush()
