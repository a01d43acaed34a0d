"""Says which limits a refusal may be about that names none: those of what stands higher than it has ever safely stood.

Of all that a provider may count in a minute (calls, tokens in, tokens out, both) only one was too much. What stands no
higher than it has often stood without a refusal is cleared by that. Calls are the first suspects, since they are
limited everywhere and often by more than the minute: tokens are suspected only where calls are cleared.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from llmqd.lane.history import MINUTE
from llmqd.lane.search import Search

if TYPE_CHECKING:
    from llmqd.providers.limit_values import Dimension

_LOOK_AGAIN = 5.0
"""Seconds between two looks at what has passed."""
_CLEARED = 0.65
"""Calls are cleared where they stand less high, against what passed before, than so many times what tokens stand."""
_AS_BEFORE = 0.8
"""What was suspected at the wall before is so again unless it has fallen to so much of that, against calls."""
_BEYOND = 1.01
"""A rate of calls that is so much above what has passed is the first that can be to blame."""
_IN_USE, _USED_FOR = 0.8, 5.0
"""The share of that rate, and of how many seconds, that must have been used for that."""
_SERIES, _MOST_IN_VAIN = 30.0, 3
"""When tokens were suspected so often and the next wall came so many seconds later each time, it was something else."""
_FADES = 0.9999
"""What has passed long ago says less: a day's worth of looks takes four fifths of it away."""
_ONLY_CALLS: tuple[Dimension, ...] = ("requests",)


class _Stand(NamedTuple):
    """How high something stands: what the last minute held, and the least bucket that would have let it through."""

    minute: float
    bucket: float


class Suspects:
    """Judges refusals that name no limit, by the searches for each of them. Pure: times are monotonic seconds.

    `passed` must be told of answers that are no refusals, `judge` gives what a refusal may be about.
    """

    def __init__(self, searches: Mapping[Dimension, Search]) -> None:
        self._searches = searches
        self._requests = searches["requests"]
        self._passed = dict.fromkeys(searches, _Stand(0.0, 0.0))
        """The highest that passed more than two minutes ago: what has come since may be what is too much."""
        self._lately: deque[tuple[float, dict[Dimension, _Stand]]] = deque()
        """The looks that are not counted among these yet."""
        self._looked_at = float("-inf")
        self._suspected = _ONLY_CALLS
        self._stood: dict[Dimension, _Stand] = {}
        """How high all stood at the last wall."""
        self._wall_at = float("-inf")
        self._passed_since = True
        self._in_vain = 0

    def passed(self, sent_at: float) -> None:
        """A call that was granted at `sent_at` was let through."""
        if sent_at > self._wall_at:
            self._passed_since = True
        if sent_at - self._looked_at < _LOOK_AGAIN:
            return
        self._looked_at = sent_at
        # Of a minute ago, because only when calls have ended it is known what they took.
        self._lately.append((sent_at, self._stand(sent_at - MINUTE)))
        while self._lately[0][0] <= sent_at - MINUTE:
            for dimension, stand in self._lately.popleft()[1].items():
                most = self._passed[dimension]
                minute, bucket = max(most.minute * _FADES, stand.minute), max(most.bucket * _FADES, stand.bucket)
                self._passed[dimension] = _Stand(minute, bucket)

    def judge(self, sent_at: float, now: float) -> tuple[Dimension, ...]:
        """What may be to blame that the call was refused that was granted at `sent_at`: calls alone, or tokens of one
        kind or several. Refusals of calls that went before the last wall was known, and of probes, are part of it."""
        if self._passed_since and sent_at > self._wall_at:
            stand = self._stand(sent_at)
            if sent_at - self._wall_at > _SERIES:
                self._in_vain = 0
            self._suspected = self._find(stand, sent_at)
            self._in_vain += self._suspected != _ONLY_CALLS
            self._stood, self._wall_at, self._passed_since = stand, now, False
        return self._suspected

    def _find(self, stand: Mapping[Dimension, _Stand], sent_at: float) -> tuple[Dimension, ...]:
        calls = stand["requests"].minute
        if not calls or not self._passed["requests"].minute or self._in_vain >= _MOST_IN_VAIN or self._tries(sent_at):
            return _ONLY_CALLS
        if self._suspected != _ONLY_CALLS:
            least = _AS_BEFORE * calls / max(self._stood["requests"].minute, 1.0)
            again = tuple(one for one in self._suspected if stand[one].minute >= least * self._stood[one].minute)
            if again:
                return again
        heights = {
            dimension: max(stand[dimension].minute / most.minute, stand[dimension].bucket / most.bucket)
            for dimension, most in self._passed.items()
            if most.minute and most.bucket
        }
        height = heights.pop("requests", float("inf"))
        return tuple(one for one, other in heights.items() if height < _CLEARED * other) or _ONLY_CALLS

    def _tries(self, sent_at: float) -> bool:
        """Whether calls went at a rate that is not known to be let through."""
        search = self._requests
        lately = (stand["requests"].minute for _, stand in self._lately)
        most = max(self._passed["requests"].minute, max(lately, default=0.0))
        if not search.trying and search.rate <= _BEYOND * most:
            return False
        return search.history.between(sent_at - _USED_FOR, sent_at) >= _IN_USE * search.rate * _USED_FOR / MINUTE

    def _stand(self, at: float) -> dict[Dimension, _Stand]:
        return {
            dimension: _Stand(search.history.between(at - MINUTE, at), search.history.bucket(at))
            for dimension, search in self._searches.items()
        }
