"""What is counted: Prometheus metrics in a registry of the daemon's own, also given as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector, generate_latest

from llmqd.metrics_collectors import BudgetsCollector, PartsCollector, TelemetryCollector
from llmqd.series import Counts, Durations
from llmqd.usage import PICO

if TYPE_CHECKING:
    from llmqd.call import Record
    from llmqd.errors import CallRefused
    from llmqd.metrics_collectors import BudgetFigures, LaneFigures, StoreFigures

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_MAX_MODELS = 500
"""Distinct `model` labels; model names come from clients, so beyond it they are counted as `other`."""


_CLUSTER = (
    ("llmqd_cluster_alone", "1 while Redis is away and this daemon keeps to its part of the limits by itself"),
    ("llmqd_cluster_members", "Daemons that share their lanes"),
    ("llmqd_cluster_lanes_owned", "Lanes that this daemon decides for"),
)
_GUARDED = (
    ("llmqd_guarded_sessions", "Sessions that are watched"),
    ("llmqd_runaway_sessions", "Sessions that are held back"),
    ("llmqd_guards_waiting", "Calls of paused sessions that wait"),
)


class Metrics:
    """Every metric of the daemon. Figures that others own (lanes, the store) are asked for when they are scraped."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self._models: set[str] = set()
        self._calls = Counts(
            "llmqd_calls",
            "Calls by how they ended",
            ["upstream", "operation", "status"],
            registry,
        )
        self._answers = Counts(
            "llmqd_upstream_answers",
            "Answers by HTTP status",
            ["upstream", "status"],
            registry,
        )
        self._refusals = Counts("llmqd_refusals", "Calls that llmqd refused", ["code"], registry)
        self._tokens = Counts("llmqd_tokens", "Tokens by kind", ["upstream", "model", "kind"], registry)
        self._cost = Counts(
            "llmqd_cost_usd",
            "Cost in US dollars",
            ["upstream", "model"],
            registry,
        )
        self._unpriced = Counts(
            "llmqd_unpriced_calls",
            "Calls with usage but no known price",
            ["upstream", "model"],
            registry,
        )
        self._wait = Durations(
            "llmqd_queue_wait_seconds",
            "Wait for a turn",
            ["lane", "priority"],
            _SECONDS,
            registry,
        )
        self._first = Durations(
            "llmqd_time_to_first_byte_seconds",
            "From arrival to the first byte of the answer, waiting included",
            ["upstream"],
            _SECONDS,
            registry,
        )
        self._total = Durations(
            "llmqd_call_seconds",
            "From arrival to the end of the answer",
            ["upstream"],
            _SECONDS,
            registry,
        )
        ProcessCollector(registry=self.registry)
        self._sessions: Callable[[], Mapping[str, float]] = dict

    def watch(
        self,
        lanes: Iterable[LaneFigures],
        store: Callable[[], StoreFigures],
        sessions: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        """Adds the figures of lanes, store and the detection of sessions, read anew at every scrape."""
        self._sessions = sessions
        self.registry.register(PartsCollector(lanes, store, sessions))

    def watch_budgets(self, budgets: Callable[[], Iterable[BudgetFigures]]) -> None:
        """Adds the figures of budgets, read anew at every scrape."""
        self.registry.register(BudgetsCollector(budgets))

    def watch_guards(self, figures: Callable[[], tuple[int, int, int]]) -> None:
        """Adds the figures of the guards: sessions watched and held back, calls that wait."""
        self._watch_gauges(_GUARDED, figures)

    def watch_cluster(self, figures: Callable[[], tuple[int, int, int]]) -> None:
        """Adds the figures of the cluster: whether Redis is away, daemons, lanes that this one decides for."""
        self._watch_gauges(_CLUSTER, figures)

    def _watch_gauges(self, named: Iterable[tuple[str, str]], figures: Callable[[], tuple[int, ...]]) -> None:
        for index, (name, text) in enumerate(named):
            gauge = Gauge(name, text, registry=self.registry)
            gauge.set_function(lambda index=index: figures()[index])  # type: ignore[misc]

    def watch_telemetry(self, figures: Callable[[], Mapping[str, int]]) -> None:
        """Adds what became of the calls that were to be traced, read anew at every scrape."""
        self.registry.register(TelemetryCollector(figures))

    def refused(self, error: CallRefused) -> None:
        """Counts a call that llmqd refused."""
        self._refusals.add((error.code,))

    def ended(self, record: Record) -> None:
        """Counts a call whose record has closed."""
        call, outcome = record.call, record.outcome
        self._calls.add((call.upstream, call.operation, outcome.status))
        if outcome.http_status is not None and outcome.attempts:
            self._answers.add((call.upstream, str(outcome.http_status)))
        if outcome.queued_ms is not None and outcome.lane is not None:
            self._wait.add((outcome.lane, str(call.priority)), outcome.queued_ms / 1000)
        if outcome.first_byte_ms is not None:
            self._first.add((call.upstream,), outcome.first_byte_ms / 1000)
        if outcome.total_ms is not None and outcome.attempts:
            self._total.add((call.upstream,), outcome.total_ms / 1000)
        if outcome.usage is not None and outcome.usage.source != "unknown":
            self._consumed(record)

    def text(self) -> bytes:
        """All figures in the Prometheus text format."""
        return generate_latest(self.registry)

    def figures(self) -> dict[str, Any]:
        """All figures for JSON: `{metric: [{"labels": {...}, "value": n}, ...]}`, and `sessions: {figure: n}`."""
        listed: dict[str, list[dict[str, object]]] = {}
        for metric in self.registry.collect():
            for sample in metric.samples:
                listed.setdefault(sample.name, []).append({"labels": dict(sample.labels), "value": sample.value})
        return listed | {"sessions": dict(self._sessions())}

    def _consumed(self, record: Record) -> None:
        outcome, upstream = record.outcome, record.call.upstream
        usage = outcome.usage
        assert usage is not None
        model = self._model_label(outcome.response_model or record.call.limited_as or "unknown")
        for kind, count in (
            ("input", usage.input),
            ("output", usage.output),
            ("cached", usage.cached),
            ("cache_write", usage.cache_write_5m + usage.cache_write_1h),
            ("reasoning", usage.reasoning),
        ):
            if count:
                self._tokens.add((upstream, model, kind), count)
        if outcome.cost is None:
            self._unpriced.add((upstream, model))
        else:
            self._cost.add((upstream, model), outcome.cost.total / PICO)

    def _model_label(self, model: str) -> str:
        if model not in self._models:
            if len(self._models) >= _MAX_MODELS:
                return "other"
            self._models.add(model)
        return model
