"""The best possible client: what it sends is admitted, and by the bench's yardstick it uses all there is."""

from __future__ import annotations

import orjson
import pytest

from bench.queue.oracle import Oracle, best
from bench.queue.rows import Row, waves
from bench.queue.upstream import provider
from tests.fake_upstream.limiters import Tokens
from tests.fake_upstream.request import Received

ROWS = [row for wave in waves(long=False) for row in wave.rows]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_by_every_rows_yardstick_the_best_client_uses_all_and_no_more(row: Row) -> None:
    utilisation = best(row)
    assert utilisation is not None
    assert 0.99 <= utilisation <= 1.01


@pytest.mark.parametrize("row", [row for row in ROWS if row.name != "60,000 rpm"], ids=lambda row: row.name)
def test_the_strict_upstream_refuses_none_of_its_calls(row: Row) -> None:
    played = provider(row.spec)
    accepted, places = Oracle(row).play()
    for at, *counts in accepted:
        tokens = Tokens(*counts)
        body = orjson.dumps({"model": "m", "max_tokens": tokens.max_output})
        request = Received(method="POST", target=row.calls.path, version="HTTP/1.1", raw_headers=[], at=at)
        request.body = body + b" " * (tokens.input * 4 - len(body))
        played(request)
    assert not played.refused
    assert [each for _, each in played.accepted] == [Tokens(*call[1:]) for call in accepted]
    if row.spec.concurrency:
        edges = sorted([(begin, 1) for begin, _ in places] + [(end, -1) for _, end in places])
        running = 0
        for _, change in edges:
            running += change
            assert running <= row.spec.concurrency
