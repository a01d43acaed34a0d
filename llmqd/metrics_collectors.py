"""Figures that others own, for Prometheus: read anew at the moment of each scrape."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from llmqd import __version__
from llmqd.usage import PICO


class LimitFigure(Protocol):
    """What the metrics want to know of a limit."""

    @property
    def dimension(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def limit(self) -> float: ...
    @property
    def used(self) -> float: ...


class EstimateFigures(Protocol):
    """What the metrics want to know of the estimates of tokens."""

    @property
    def input_error(self) -> float: ...
    @property
    def input_bias(self) -> float: ...
    @property
    def output_short(self) -> float: ...
    @property
    def output_ratio(self) -> float: ...


class LaneFigures(Protocol):
    """What the metrics want to know of a lane."""

    name: str
    upstream: str
    granted: int
    refusals: int

    @property
    def paused(self) -> object | None: ...
    @property
    def pauses(self) -> int: ...
    def figures(self) -> Sequence[LimitFigure]: ...
    def estimate_error(self) -> EstimateFigures: ...
    @property
    def running(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    @property
    def waiting_bytes(self) -> int: ...
    @property
    def requests_per_minute(self) -> float: ...


class StoreFigures(Protocol):
    """What the metrics want to know of the store."""

    @property
    def ok(self) -> bool: ...
    @property
    def behind(self) -> int: ...
    @property
    def journal_bytes(self) -> int: ...
    @property
    def lost(self) -> int: ...


class BudgetFigures(Protocol):
    """What the metrics want to know of a budget of one key, user, agent, session or of all."""

    value: str
    likely: int

    @property
    def used(self) -> int: ...
    @property
    def by(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def limit(self) -> int: ...
    @property
    def state(self) -> str: ...


def _tasks() -> int:
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:
        return 0  # there is no event loop here


class PartsCollector(Collector):
    """Figures whose owners are asked at the moment of the scrape."""

    def __init__(
        self,
        lanes: Iterable[LaneFigures],
        store: Callable[[], StoreFigures],
        sessions: Callable[[], Mapping[str, float]],
    ) -> None:
        self._lanes = lanes
        self._store = store
        self._sessions = sessions

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("llmqd_build", "The running version", {"version": __version__})
        yield GaugeMetricFamily("llmqd_tasks", "Tasks of the event loop", value=_tasks())
        # Two keys may bear one name for a while when a reload renames them; a sample must not stand there twice.
        by_name: dict[str, list[LaneFigures]] = {}
        for lane in self._lanes:
            by_name.setdefault(lane.name, []).append(lane)
        yield from _of_calls(by_name)
        yield from _of_limits(by_name)
        yield from _of_estimates(by_name)
        detection = GaugeMetricFamily("llmqd_sessions", "How sessions are found", labels=["figure"])
        for name, value in self._sessions().items():
            detection.add_metric([name], value)
        yield detection
        store = self._store()
        yield GaugeMetricFamily("llmqd_store_ok", "1 while records reach the database", value=float(store.ok))
        yield GaugeMetricFamily(
            "llmqd_store_records_behind", "Records in the journal that the database lacks", value=store.behind
        )
        yield GaugeMetricFamily("llmqd_journal_bytes", "Size of the journal", value=store.journal_bytes)
        yield CounterMetricFamily("llmqd_records_lost", "Records that could not be kept", value=store.lost)


def _of_calls(by_name: Mapping[str, Sequence[LaneFigures]]) -> Iterator[Metric]:
    waiting = GaugeMetricFamily("llmqd_lane_waiting", "Calls that wait for a turn", labels=["lane"])
    size = GaugeMetricFamily("llmqd_lane_waiting_bytes", "Bytes of request bodies that wait", labels=["lane"])
    running = GaugeMetricFamily("llmqd_lane_running", "Calls that run", labels=["lane"])
    granted = CounterMetricFamily("llmqd_lane_grants", "Turns granted", labels=["lane"])
    refusals = CounterMetricFamily("llmqd_upstream_429", "Calls refused upstream for want of quota", labels=["lane"])
    pauses = CounterMetricFamily("llmqd_lane_pauses", "Pauses after a refusal", labels=["lane"])
    paused = GaugeMetricFamily("llmqd_lane_paused", "1 while nobody is let through", labels=["lane"])
    for name, lanes in by_name.items():
        waiting.add_metric([name], sum(each.waiting for each in lanes))
        size.add_metric([name], sum(each.waiting_bytes for each in lanes))
        running.add_metric([name], sum(each.running for each in lanes))
        granted.add_metric([name], sum(each.granted for each in lanes))
        refusals.add_metric([name], sum(each.refusals for each in lanes))
        pauses.add_metric([name], sum(each.pauses for each in lanes))
        paused.add_metric([name], float(lanes[0].paused is not None))
    yield from (waiting, size, running, granted, refusals, pauses, paused)


def _of_limits(by_name: Mapping[str, Sequence[LaneFigures]]) -> Iterator[Metric]:
    rate = GaugeMetricFamily("llmqd_lane_requests_per_minute", "The rate in force, 0 is none", labels=["lane"])
    labels = ["lane", "dimension", "models"]
    limit = GaugeMetricFamily("llmqd_limit", "Each limit in force", labels=labels)
    used = GaugeMetricFamily("llmqd_limit_used", "Share of each limit that is used up in its window", labels=labels)
    for name, (lane, *_) in by_name.items():
        rate.add_metric([name], lane.requests_per_minute)
        for figure in lane.figures():
            limit.add_metric([name, figure.dimension, figure.group], figure.limit)
            used.add_metric([name, figure.dimension, figure.group], figure.used)
    yield from (rate, limit, used)


def _of_estimates(by_name: Mapping[str, Sequence[LaneFigures]]) -> Iterator[Metric]:
    error = GaugeMetricFamily(
        "llmqd_estimate_input_error", "Mean distance of estimated from real input tokens, as a share", labels=["lane"]
    )
    bias = GaugeMetricFamily(
        "llmqd_estimate_input_bias", "The same with its sign: above 0 where estimates are too high", labels=["lane"]
    )
    ratio = GaugeMetricFamily("llmqd_estimate_output_ratio", "Estimated by real output tokens", labels=["lane"])
    short = GaugeMetricFamily(
        "llmqd_estimate_output_short", "Share of calls with more output tokens than estimated", labels=["lane"]
    )
    for name, (lane, *_) in by_name.items():
        estimates = lane.estimate_error()
        error.add_metric([name], estimates.input_error)
        bias.add_metric([name], estimates.input_bias)
        ratio.add_metric([name], estimates.output_ratio)
        short.add_metric([name], estimates.output_short)
    yield from (error, bias, ratio, short)


class BudgetsCollector(Collector):
    """Budgets of all and of keys one by one; of users, agents and sessions, whose names clients make up, how many."""

    def __init__(self, budgets: Callable[[], Iterable[BudgetFigures]]) -> None:
        self._budgets = budgets

    def collect(self) -> Iterator[Metric]:
        labels = ["budget", "by", "value", "unit"]
        limit = GaugeMetricFamily("llmqd_budget_limit", "What may be spent in its period", labels=labels)
        spent = GaugeMetricFamily("llmqd_budget_spent", "What is spent of it", labels=labels)
        aside = GaugeMetricFamily("llmqd_budget_reserved", "What is set aside for calls that run", labels=labels)
        known = GaugeMetricFamily(
            "llmqd_budget_holders", "For how many it is kept, by how it stands", labels=["budget", "by", "state"]
        )
        counts: dict[tuple[str, str, str], int] = {}
        shown: set[tuple[str, ...]] = set()
        for one in self._budgets():
            state = one.title, one.by, one.state
            counts[state] = counts.get(state, 0) + 1
            names = one.title, one.by, one.value, one.unit
            if one.by in ("all", "key") and names not in shown:
                shown.add(names)
                scale = PICO if one.unit == "usd" else 1
                limit.add_metric(names, one.limit / scale)
                spent.add_metric(names, one.used / scale)
                aside.add_metric(names, one.likely / scale)
        for key, count in counts.items():
            known.add_metric([*key], count)
        yield from (limit, spent, aside, known)


class TelemetryCollector(Collector):
    """What became of the calls that were to be traced."""

    def __init__(self, figures: Callable[[], Mapping[str, int]]) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        calls = CounterMetricFamily(
            "llmqd_traced_calls", "Calls to be traced, by whether their spans were sent", labels=["outcome"]
        )
        for outcome, count in self._figures().items():
            calls.add_metric([outcome], count)
        yield calls
