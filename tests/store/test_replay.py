from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from llmqd.call import Record
from llmqd.errors import StoreError
from llmqd.store.entries import decode, encode_closed
from llmqd.store.position import Position
from llmqd.store.replay import count_calls, read_calls
from llmqd.store.schema import MIGRATIONS
from llmqd.store.sqlite import SQLite
from tests.store.records import answer, make_record


async def written(path: Path, records: list[Record]) -> SQLite:
    backend = SQLite(path)
    await backend.open("journal")
    await backend.apply([decode(encode_closed(record)) for record in records], Position(1, 10), durable=False)
    return backend


async def test_calls_come_in_their_order_as_they_were_recorded(tmp_path: Path) -> None:
    records = [answer(make_record(id=f"{number:026}", received_at=1000.0 + number)) for number in (3, 1, 2)]
    backend = await written(tmp_path / "a?b #.db", records)
    read = list(read_calls(tmp_path / "a?b #.db"))
    assert [one.call.received_at for one in read] == [1001.0, 1002.0, 1003.0]
    assert read[2].outcome == records[0].outcome
    await backend.close()


async def test_only_calls_since_a_moment_are_read(tmp_path: Path) -> None:
    records = [answer(make_record(id=f"{number:026}", received_at=1000.0 + number)) for number in range(10)]
    await (await written(tmp_path / "llmqd.db", records)).close()
    assert count_calls(tmp_path / "llmqd.db").total() == 10
    assert count_calls(tmp_path / "llmqd.db", 1007.0).total() == 3
    assert len(list(read_calls(tmp_path / "llmqd.db", 1007.0))) == 3


async def test_reading_changes_nothing_and_works_beside_a_writer(tmp_path: Path) -> None:
    backend = await written(tmp_path / "llmqd.db", [answer(make_record())])
    rows = read_calls(tmp_path / "llmqd.db")
    assert next(rows).outcome.status == "done"
    await backend.apply([decode(encode_closed(answer(make_record())))], Position(1, 20), durable=False)
    assert len(list(rows)) == 0
    await backend.close()
    assert count_calls(tmp_path / "llmqd.db").total() == 2


def test_a_ledger_that_is_not_there_or_is_none_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"there is no ledger at .*; name one with --db"):
        count_calls(tmp_path / "none.db")
    (tmp_path / "text.db").write_text("no database " * 100)
    with pytest.raises(StoreError, match="cannot be read: file is not a database"):
        list(read_calls(tmp_path / "text.db"))
    sqlite3.connect(tmp_path / "empty.db").execute("CREATE TABLE other (a)").connection.close()
    with pytest.raises(StoreError, match="no such table: calls"):
        list(read_calls(tmp_path / "empty.db"))


def test_the_ledger_of_an_older_llmqd_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "old.db")
    connection.executescript(MIGRATIONS[0])
    row = {"id": "1", "received_at": 5.0, "method": "POST", "path": "/", "dialect": "openai", "operation": "chat"}
    row |= {"upstream": "openai", "stream": 0, "priority": 5, "no_queue": 0, "session_source": "none", "store": "full"}
    row |= {"client_retry": 0, "request_bytes": 9, "status": "done"}
    marks = ", ".join(f":{name}" for name in row)
    connection.execute(f"INSERT INTO calls ({', '.join(row)}) VALUES ({marks})", row)
    connection.commit()
    connection.close()
    [found] = read_calls(tmp_path / "old.db")
    assert (found.call.request_bytes, found.call.text_bytes, found.outcome.sent_ms) == (9, 0, None)
    assert found.outcome.counted is False
