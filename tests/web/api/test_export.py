from __future__ import annotations

import csv
import io
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from llmqd.call import Attempt
from llmqd.usage import Cost
from tests.store.usage_records import MIDNIGHT, ended_call
from tests.web.api.asking import Asked, asking
from tests.web.api.test_analytics import two_agents_and_a_failure


async def lines(asked: Asked, query: str) -> list[dict[str, Any]]:
    response = await asked.response(f"/api/v1/export?{query}")
    assert (response.status, response.header("content-type")) == (200, "application/x-ndjson"), response.body
    return [orjson.loads(line) for line in response.body.splitlines()]


async def test_calls_come_as_the_api_shows_them_the_latest_first(tmp_path: Path) -> None:
    async with asking(tmp_path, *two_agents_and_a_failure()) as asked:
        listed = (await asked.json("/requests"))["requests"]
        assert await lines(asked, "what=requests") == listed
        response = await asked.response("/api/v1/export?what=requests&format=json")
        assert orjson.loads(response.body) == listed
        assert response.header("content-disposition") == 'attachment; filename="requests.json"'
        assert [row["session_id"] for row in await lines(asked, "session_id=s2")] == ["s2"]


async def test_a_csv_has_a_column_for_each_field_and_money_with_all_its_digits(tmp_path: Path) -> None:
    tried = (Attempt("openai", "openai/a", "wait", "slow, please", 1.0, 2.0, 429),)
    call = ended_call(MIDNIGHT, 's,"1"', attempts=2, tried=tried, cost=Cost(total=150_001, input=150_000, output=1))
    async with asking(tmp_path, call) as asked:
        response = await asked.response("/api/v1/export?format=csv")
        assert response.header("content-type") == "text/csv"
        [row] = csv.DictReader(io.StringIO(response.body.decode()))
        assert row["session_id"] == 's,"1"'
        assert Decimal(row["cost"]) == Decimal("0.000000150001")
        assert row["costs.output"] == "0.000000000001"
        assert (row["stream"], row["error"], row["tokens.input"]) == ("false", "", row["prompt_tokens"])
        [attempt] = orjson.loads(row["failed_attempts"])
        assert (attempt["http_status"], attempt["reason"]) == (429, "slow, please")


async def test_no_name_in_a_csv_is_a_formula_to_a_spreadsheet(tmp_path: Path) -> None:
    call = ended_call(MIDNIGHT, "-1+2", user="@SUM(1)", agent='=HYPERLINK("x")', cost=None)
    async with asking(tmp_path, call) as asked:
        response = await asked.response("/api/v1/export?format=csv")
        [row] = csv.DictReader(io.StringIO(response.body.decode()))
        assert (row["session_id"], row["user_id"], row["agent_name"]) == ("'-1+2", "'@SUM(1)", '\'=HYPERLINK("x")')
        [plain] = await lines(asked, "")
        assert plain["agent_name"] == '=HYPERLINK("x")'


async def test_more_than_a_page_is_neither_cut_nor_repeated_whatever_is_filtered(tmp_path: Path) -> None:
    calls = [
        ended_call(MIDNIGHT + number * 40, f"s{number % 300}", model="even" if number % 2 == 0 else "odd")
        for number in range(700)
    ]
    async with asking(tmp_path, *calls) as asked:
        expected = [record.call.id for record in reversed(calls)]
        assert [row["request_id"] for row in await lines(asked, "what=requests")] == expected
        assert [row["request_id"] for row in await lines(asked, "model=odd")] == expected[::2]
        sessions = [row["session_id"] for row in await lines(asked, "what=sessions")]
        assert sorted(sessions) == sorted({record.call.session.id or "" for record in calls})
        hours = await lines(asked, "what=usage&granularity=hour&by=model")
        assert sum(row["total_requests"] for row in hours) == 700
        assert {row["category"] for row in hours} == {"even", "odd"}
        days = await lines(asked, "what=usage")
        assert [row["total_requests"] for row in days] == [700]


@pytest.mark.parametrize("what", ["requests", "sessions", "usage"])
async def test_of_nothing_each_form_is_still_whole(tmp_path: Path, what: str) -> None:
    async with asking(tmp_path) as asked:
        assert await lines(asked, f"what={what}") == []
        response = await asked.response(f"/api/v1/export?what={what}&format=json")
        assert orjson.loads(response.body) == []
        response = await asked.response(f"/api/v1/export?what={what}&format=csv")
        assert len(list(csv.reader(io.StringIO(response.body.decode())))) == 1
        assert (await asked.response(f"/api/v1/export?what={what}", method="HEAD")).body == b""


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("what=calls", "what"),
        ("format=xml", "format"),
        ("by=model", "by"),
        ("what=sessions&session_id=x", "session_id"),
        ("what=usage&model=x", "model"),
        ("what=usage&by=session", "by"),
        ("start_date=yesterday", "start_date"),
        ("limit=5", "limit"),
    ],
)
async def test_a_bad_field_is_named(tmp_path: Path, query: str, param: str) -> None:
    async with asking(tmp_path) as asked:
        assert (await asked.refused(f"/export?{query}"))["param"] == param
