"""What is counted, and that names which clients choose cannot fill the memory."""

from __future__ import annotations

from dataclasses import dataclass

from llmqd.call import Outcome, Record
from llmqd.errors import QueueFull
from llmqd.lane.estimate import EstimateError
from llmqd.lane.gate import Figure
from llmqd.metrics import Metrics
from llmqd.usage import Cost, Usage
from tests.calls import a_call


@dataclass
class FakeLane:
    name: str = "openai"
    upstream: str = "openai"
    running: int = 2
    granted: int = 7
    waiting: int = 3
    waiting_bytes: int = 99
    requests_per_minute: float = 60.0
    refusals: int = 5
    pauses: int = 1
    paused: object | None = "429"

    def figures(self) -> list[Figure]:
        return [Figure("requests_per_minute", "", 60.0, 60.0, None, 0.25, "auto")]

    def estimate_error(self) -> EstimateError:
        return EstimateError(10, 0.05, 0.01, 0.1, 1.5)


@dataclass
class FakeStore:
    ok: bool = False
    behind: int = 4
    journal_bytes: int = 5
    lost: int = 6


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_an_ended_call_is_counted_by_tokens_cost_and_time() -> None:
    metrics = Metrics()
    usage = Usage(input=100, output=20, cached=30, cache_write_5m=5, reasoning=7, source="exact")
    outcome = Outcome("done", 200, lane="openai", attempts=1, queued_ms=1500, first_byte_ms=1600, total_ms=2000)
    outcome.usage, outcome.cost, outcome.response_model = usage, Cost(2_500_000_000_000), "gpt-4o-2024"
    metrics.ended(Record(a_call(), outcome))
    assert value(metrics, "llmqd_calls_total", upstream="openai", operation="chat", status="done") == 1
    assert value(metrics, "llmqd_upstream_answers_total", upstream="openai", status="200") == 1
    labels = {"upstream": "openai", "model": "gpt-4o-2024"}
    kinds = {"input": 100, "output": 20, "cached": 30, "cache_write": 5, "reasoning": 7}
    for kind, count in kinds.items():
        assert value(metrics, "llmqd_tokens_total", kind=kind, **labels) == count
    assert value(metrics, "llmqd_cost_usd_total", **labels) == 2.5
    assert value(metrics, "llmqd_queue_wait_seconds_sum", lane="openai", priority="5") == 1.5
    assert value(metrics, "llmqd_call_seconds_sum", upstream="openai") == 2.0


def test_an_unknown_price_is_counted_as_unpriced_never_as_zero() -> None:
    metrics = Metrics()
    outcome = Outcome("done", 200, attempts=1, usage=Usage(input=1, source="exact"))
    metrics.ended(Record(a_call(), outcome))
    labels = {"upstream": "openai", "model": "gpt-4o-mini"}
    assert value(metrics, "llmqd_unpriced_calls_total", **labels) == 1
    assert value(metrics, "llmqd_cost_usd_total", **labels) is None


def test_refusals_are_counted_by_code() -> None:
    metrics = Metrics()
    metrics.refused(QueueFull("full"))
    assert value(metrics, "llmqd_refusals_total", code="queue_full") == 1


def test_model_names_are_bounded() -> None:
    metrics = Metrics()
    for number in range(600):
        outcome = Outcome("done", 200, attempts=1, usage=Usage(input=1, source="exact"))
        metrics.ended(Record(a_call(model=f"m{number}"), outcome))
    assert value(metrics, "llmqd_tokens_total", upstream="openai", model="other", kind="input") == 100
    assert value(metrics, "llmqd_tokens_total", upstream="openai", model="m599", kind="input") is None


def test_lanes_and_store_are_asked_at_the_scrape() -> None:
    metrics, lane, store = Metrics(), FakeLane(), FakeStore()
    metrics.watch([lane], lambda: store)
    lane.waiting = 8
    text = metrics.text().decode()
    for line in (
        'llmqd_lane_waiting{lane="openai"} 8.0',
        'llmqd_lane_running{lane="openai"} 2.0',
        'llmqd_lane_waiting_bytes{lane="openai"} 99.0',
        'llmqd_lane_grants_total{lane="openai"} 7.0',
        'llmqd_upstream_429_total{lane="openai"} 5.0',
        'llmqd_lane_pauses_total{lane="openai"} 1.0',
        'llmqd_limit{dimension="requests_per_minute",lane="openai",models=""} 60.0',
        'llmqd_limit_used{dimension="requests_per_minute",lane="openai",models=""} 0.25',
        'llmqd_lane_paused{lane="openai"} 1.0',
        'llmqd_estimate_input_error{lane="openai"} 0.05',
        'llmqd_estimate_input_bias{lane="openai"} 0.01',
        'llmqd_estimate_output_ratio{lane="openai"} 1.5',
        'llmqd_estimate_output_short{lane="openai"} 0.1',
        "llmqd_store_ok 0.0",
        "llmqd_store_records_behind 4.0",
        "llmqd_journal_bytes 5.0",
        "llmqd_records_lost_total 6.0",
        "process_resident_memory_bytes",
    ):
        assert line in text
    assert metrics.figures()["llmqd_lane_waiting"] == [{"labels": {"lane": "openai"}, "value": 8}]


def test_two_lanes_of_one_name_are_one_sample() -> None:
    metrics = Metrics()
    metrics.watch([FakeLane(), FakeLane(running=1, waiting=0)], FakeStore)
    text = metrics.text().decode()
    assert text.count('llmqd_lane_running{lane="openai"}') == 1
    assert value(metrics, "llmqd_lane_running", lane="openai") == 3
