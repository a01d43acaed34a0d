"""What is told of calls that have ended, and when."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import cast

import pytest

from llmqd.call import Outcome, Record
from llmqd.config.model import Config
from llmqd.messages.digest import Digests
from llmqd.metrics import Metrics
from llmqd.prices import Prices
from llmqd.recorder import Recorder
from llmqd.store.ledger import Ledger
from llmqd.store.names_redaction import NamesRedaction
from llmqd.store.redaction import Redaction
from llmqd.tap.tap import Reading
from llmqd.usage import PICO, Usage
from tests.calls import a_call


async def test_log_and_metrics_hear_of_all_that_have_ended_at_once_and_hold_nobody_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []
    config, metrics = Config(), Metrics()
    names = NamesRedaction(Redaction(), Digests(b"0123456789abcdef", 100))
    ledger = Ledger(config.store, tmp_path)
    recorder = Recorder(
        ledger,
        Prices(config.prices),
        metrics,
        names,
        clock=lambda: 2.0,
        announce=lambda _: None,
        closed=(lambda record: told.append(f"closed {record.call.id}"),),
        ended=(lambda record: told.append(f"ended {record.call.id}"),),
    )

    def counted() -> float:
        listed = cast(list[dict[str, float]], metrics.figures().get("llmqd_calls_total", []))
        return sum(one["value"] for one in listed)

    async with ledger:
        with caplog.at_level(logging.INFO, "llmqd.calls"):
            for record in [Record(a_call(id=name), Outcome(lane="openai", attempts=1)) for name in ("one", "two")]:
                recorder.open(record)
                recorder.close(record, "done", None, provider=None)
            assert told == ["closed one", "closed two"]
            assert counted() == 0
            assert not caplog.messages
            await asyncio.sleep(0)
        assert told[2:] == ["ended one", "ended two"]
        assert counted() == 2
        assert [message.partition("Request: ")[2][:3] for message in caplog.messages] == ["one", "two"]


@pytest.mark.parametrize(
    ("provider", "asked", "cost"),
    [
        ("aws", "global.anthropic.claude-sonnet-4-5-20250929-v1:0", 3 * PICO),
        ("aws", "eu.anthropic.claude-sonnet-4-5-20250929-v1:0", 33 * PICO // 10),
        ("aws", "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc", 33 * PICO // 10),
        ("anthropic", "my-claude", 3 * PICO),
    ],
)
async def test_bedrock_s_price_goes_by_the_id_that_was_asked_for_where_that_has_one(
    tmp_path: Path, provider: str, asked: str, cost: int
) -> None:
    config = Config()
    names = NamesRedaction(Redaction(), Digests(b"0123456789abcdef", 100))
    ledger = Ledger(config.store, tmp_path)
    recorder = Recorder(ledger, Prices(config.prices), Metrics(), names, clock=lambda: 2.0, announce=lambda _: None)
    record = Record(a_call(model=asked), Outcome(lane="l", attempts=1))
    usage = Usage(100_000, 0, source="exact")
    async with ledger:
        recorder.open(record)
        recorder.close(record, "done", Reading(usage, model="claude-sonnet-4-5-20250929"), provider=provider)
    assert record.outcome.cost is not None
    assert record.outcome.cost.total * 10 == cost
