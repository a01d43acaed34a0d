"""What is added up comes out as the client library itself would have it."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from llmqd.series import Counts, Durations

BOUNDS = (0.1, 1.0, 60.0)


def test_the_text_is_that_of_the_library() -> None:
    own, theirs = CollectorRegistry(), CollectorRegistry()
    counts = Counts("calls", "Calls", ["way"], own)
    durations = Durations("seconds", "How long", ["lane", "way"], BOUNDS, own)
    counter = Counter("calls", "Calls", ["way"], registry=theirs)
    histogram = Histogram("seconds", "How long", ["lane", "way"], buckets=BOUNDS, registry=theirs)
    for way, seconds in (("a", 0.05), ("b", 0.1), ("a", 0.5), ("a", 1.0), ("b", 1.01), ("a", 1e9)):
        counts.add((way,))
        counter.labels(way).inc()
        counts.add((way,), 2.5)
        counter.labels(way).inc(2.5)
        durations.add(("x", way), seconds)
        histogram.labels("x", way).observe(seconds)
    expected = [line for line in lines(theirs) if "_created" not in line]
    assert lines(own) == expected
    assert len(expected) > 15


def test_what_was_never_counted_is_described_all_the_same() -> None:
    registry = CollectorRegistry()
    Counts("calls", "Calls", ["way"], registry)
    assert lines(registry) == ["# HELP calls_total Calls", "# TYPE calls_total counter"]


def lines(registry: CollectorRegistry) -> list[str]:
    return generate_latest(registry).decode().splitlines()
