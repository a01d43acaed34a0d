"""How long it takes until it is known what became of a turn: messages are quick, but not always and everywhere."""

from __future__ import annotations

_LEAST, _MOST = 0.25, 2.0
"""Seconds that are waited for news at least, and at most."""
_SLOWER, _QUICKER = 2.0, 0.98
"""By how much longer they are waited for after a turn that came too late, and how that fades with each that did not."""
_SOME = 0.05
"""Seconds for which a turn may no longer be used before news of it are given up."""


class News:
    """Seconds to wait for news of a turn, for one lane. Calling it gives them: it is the patience of a throttle."""

    def __init__(self) -> None:
        self._wait = _LEAST
        self.usual = 0.0
        """Seconds that it takes lately from a turn to the news that it was used."""

    def __call__(self) -> float:
        return self._wait

    @property
    def valid(self) -> float:
        """Seconds for which a turn may be used after its moment."""
        return self._wait - _SOME

    def came(self, took: float | None) -> None:
        """A turn was used; the news of it came so many seconds after it was given (None: that cannot be said)."""
        self.usual = max(took or 0.0, self.usual * _QUICKER)
        self._wait = max(self._wait * _QUICKER, min(2 * self.usual, _MOST), _LEAST)

    def late(self) -> None:
        """A turn came too late to be used."""
        self._wait = min(self._wait * _SLOWER, _MOST)
        self.usual = min(max(self.usual * _SLOWER, _SOME), _MOST)
