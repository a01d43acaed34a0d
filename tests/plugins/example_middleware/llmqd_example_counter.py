"""Counts calls by status, and keeps the counts in a file."""

import json
from collections import Counter as Counts
from pathlib import Path

from llmqd.middleware import Asked, Sighting


class Counter:
    def __init__(self, options: dict[str, object]) -> None:
        self._path = Path(str(options["path"]))
        self._counts: Counts[str] = Counts()

    def request(self, asked: Asked) -> None:
        self._counts["asked"] += 1

    def response(self, sighting: Sighting) -> None:
        self._counts[str(sighting.answered.status)] += 1
        self._path.write_text(json.dumps(self._counts))

    def close(self) -> None:
        self._counts["closed"] += 1
        self._path.write_text(json.dumps(self._counts))
