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
