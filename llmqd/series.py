"""Metrics by their labels, added up in one thread: a call touches a dozen, so each must cost next to nothing."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

Labels = tuple[str, ...]


class Counts(Collector):
    """A counter: `name` without `_total`, what it counts, the names of its labels."""

    def __init__(self, name: str, text: str, labels: Sequence[str], registry: CollectorRegistry) -> None:
        self._described = name, text, labels
        self._counts: dict[Labels, float] = {}
        registry.register(self)

    def add(self, labels: Labels, count: float = 1) -> None:
        """So many more with these labels, in the order of their names."""
        self._counts[labels] = self._counts.get(labels, 0) + count

    def collect(self) -> Iterator[CounterMetricFamily]:
        """For the registry."""
        name, text, names = self._described
        family = CounterMetricFamily(name, text, labels=names)
        for labels, count in self._counts.items():
            family.add_metric(labels, count)
        yield family


class Durations(Collector):
    """A histogram of seconds, whose buckets end at `bounds`."""

    def __init__(
        self, name: str, text: str, labels: Sequence[str], bounds: Sequence[float], registry: CollectorRegistry
    ) -> None:
        self._described = name, text, labels
        self._bounds = bounds
        self._ends = [*map(floatToGoString, bounds), "+Inf"]
        self._counts: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}
        registry.register(self)

    def add(self, labels: Labels, seconds: float) -> None:
        """One more with these labels, in the order of their names."""
        counts = self._counts.get(labels)
        if counts is None:
            counts = self._counts[labels] = [0] * len(self._ends)
            self._sums[labels] = 0.0
        counts[bisect_left(self._bounds, seconds)] += 1
        self._sums[labels] += seconds

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """For the registry."""
        name, text, names = self._described
        family = HistogramMetricFamily(name, text, labels=names)
        for labels, counts in self._counts.items():
            so_far = 0
            buckets: list[tuple[str, float]] = []
            for end, count in zip(self._ends, counts, strict=True):
                so_far += count
                buckets.append((end, so_far))
            family.add_metric(labels, buckets, self._sums[labels])
        yield family
