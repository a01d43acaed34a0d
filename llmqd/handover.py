"""What a daemon leaves to the one that comes after it: the places of calls that were told to come back."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from llmqd.lane.places import Places

logger = logging.getLogger(__name__)

_FILE = "places.json"

_LONGEST = 3600.0
"""Seconds away after which nobody is expected back: SDKs give up after ten minutes by themselves."""


class Handover:
    """Keeps `places` in a file of `directory` from the stop of one daemon to the start of the next.

    `clock` is that of the places, `wall` Unix time, which alone goes on while no daemon runs. A file that cannot be
    written or read costs the places and nothing else.
    """

    def __init__(
        self, places: Places, directory: Path, *, clock: Callable[[], float], wall: Callable[[], float]
    ) -> None:
        self._places = places
        self._path = directory / _FILE
        self._clock = clock
        self._wall = wall
        self._stopped: tuple[float, float] | None = None

    def take(self) -> None:
        """Takes in what the last daemon has left, which then is there no more."""
        try:
            text = self._path.read_bytes()
            self._path.unlink()
        except FileNotFoundError:
            return
        except OSError as error:
            logger.warning("the places of waiting calls cannot be read from %s: %s", self._path, error.strerror)
            return
        try:
            left = orjson.loads(text)
            away = max(self._wall() - left["stopped_at"], 0.0)
            if away <= _LONGEST:
                self._places.load(left["places"], self._clock(), away=away)
        except (ValueError, TypeError, KeyError) as error:
            logger.warning("%s does not hold the places of waiting calls: %s", self._path, error)

    def stop(self) -> None:
        """The calls that wait are about to be sent away; nobody can come back until the next daemon runs."""
        self._stopped = self._clock(), self._wall()

    def leave(self) -> None:
        """Writes down the places, unless the daemon has not been stopped."""
        if self._stopped is None:
            return
        clock, wall = self._stopped
        places = self._places.export(clock)
        if not places:
            return
        new = self._path.with_suffix(".new")
        try:
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(orjson.dumps({"stopped_at": wall, "places": places}))
            new.replace(self._path)
        except OSError as error:
            logger.warning("the places of waiting calls cannot be kept in %s: %s", self._path, error.strerror)
