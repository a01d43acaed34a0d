"""/queue over real connections, beside a real daemon whose lanes it shows and steers."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import openai
import pytest

from llmqd.call import SessionRef
from tests.fake_upstream import FakeUpstream
from tests.steering import Steered, steering
from tests.under_test import RawClient, RawResponse, upstream_toml

CHAT = b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"hi"}]}'
JSON = {"Content-Type": "application/json"}
TWO_KEYS = '[[upstream.key]]\nname = "a"\napi_key = "sk-a"\n[[upstream.key]]\nname = "b"\napi_key = "sk-b"\n'


async def test_an_idle_queue_shows_its_lanes(tmp_path: Path) -> None:
    async with steering(tmp_path) as queue:
        body = await queue.ask("GET", "/queue")
        assert [lane["lane"] for lane in body["lanes"]] == ["openai", "anthropic", "gemini"]
        assert body["lanes"][0] == {
            "lane": "openai", "upstream": "openai", "waiting": 0, "waiting_bytes": 0, "running": 0, "granted": 0,
            "requests_per_minute": 0.0, "limits": [], "cluster": None,
            "paused": {"by": "operator", "reason": "test", "seconds_left": None},
        }  # fmt: skip
        assert (body["waiting"], body["running"], body["total"], body["next"]) == ([], [], 0, None)


async def test_waiting_calls_stand_in_the_order_of_their_turns_with_all_that_is_known(tmp_path: Path) -> None:
    async with steering(tmp_path) as queue:
        low = await queue.wait("openai", priority=7)
        high = await queue.wait(
            "openai", priority=1, session=SessionRef("s", "path"), agent="a", tags=("x:y",), max_wait=60, stream=True,
            request_bytes=10,
        )  # fmt: skip
        other = await queue.wait("gemini")
        body = await queue.ask("GET", "/queue")
        assert [(one["request_id"], one["position"]) for one in body["waiting"]] == [
            (high.id, 1), (low.id, 2), (other.id, 1),
        ]  # fmt: skip
        first = body["waiting"][0]
        assert 0 <= first.pop("waited_ms") < 5000
        assert 55_000 < first.pop("deadline_ms") <= 60_000
        assert first == {
            "request_id": high.id, "state": "waiting", "lane": "openai", "upstream": "openai", "model": "gpt-4o-mini",
            "operation": "chat", "stream": True, "priority": 1, "session": "s", "agent": "a", "user": None,
            "conversation": None, "tags": ["x:y"], "client": None, "bytes": 10, "position": 1, "eta_ms": None,
            "received_at": "2027-01-15T08:00:00.000Z",
        }  # fmt: skip
        assert body["waiting"][1]["deadline_ms"] is None


async def test_a_timed_pause_counts_down_and_stands_in_the_eta(tmp_path: Path) -> None:
    toml = upstream_toml("openai", "http://127.0.0.1:9").replace("requests_per_minute = 0", "requests_per_minute = 60")
    async with steering(tmp_path, toml) as queue:
        body = await queue.ask("POST", "/queue/openai/pause", json={"seconds": 100, "reason": "maintenance"})
        paused = body["lanes"][0]["paused"]
        assert (paused["reason"], 95 < paused["seconds_left"] <= 100) == ("maintenance", True)
        for _ in range(3):
            await queue.wait("openai")
        etas = [one["eta_ms"] for one in (await queue.ask("GET", "/queue"))["waiting"]]
        assert 95_000 < etas[0] <= 100_000
        assert etas[2] == pytest.approx(etas[0] + 2000, abs=50)


async def test_a_running_call_is_shown_with_its_wait_and_its_time(tmp_path: Path) -> None:
    async with steering(tmp_path) as queue:
        call = await queue.wait("openai")
        await queue.ask("POST", "/queue/openai/resume")
        await queue.daemon.until(lambda: queue.daemon.running == 1)
        body = await queue.ask("GET", "/queue")
        [shown] = body["running"]
        assert (shown["request_id"], shown["state"], body["running_total"]) == (call.id, "running", 1)
        assert shown["waited_ms"] >= 0
        assert 0 <= shown["running_ms"] < 5000
        assert await queue.ask("GET", f"/queue/{call.id}") == shown | {
            "running_ms": pytest.approx(shown["running_ms"], abs=5000)
        }


async def test_ten_thousand_waiting_calls_come_in_pages(tmp_path: Path) -> None:
    async with steering(tmp_path) as queue:
        ids = [(await queue.wait("openai")).id for _ in range(9_950)]
        ids += [(await queue.wait("gemini")).id for _ in range(50)]
        first = await queue.ask("GET", "/queue")
        assert ([one["request_id"] for one in first["waiting"]], first["total"]) == (ids[:50], 10_000)
        got: list[str] = []
        offset: int | None = 0
        while offset is not None:
            page = await queue.ask("GET", f"/queue?limit=999&offset={offset}")
            got += [one["request_id"] for one in page["waiting"]]
            offset = page["next"]
        assert got == ids
        assert (await queue.ask("GET", "/queue?limit=0"))["waiting"] == []
        assert (await queue.ask("GET", "/queue?offset=10000"))["waiting"] == []


async def test_lane_and_session_filter(tmp_path: Path) -> None:
    async with steering(tmp_path) as queue:
        await queue.wait("openai", session=SessionRef("s", "path"))
        wanted = await queue.wait("gemini", session=SessionRef("s", "path"))
        await queue.wait("gemini")
        by_lane = await queue.ask("GET", "/queue?lane=gemini")
        assert (len(by_lane["waiting"]), [lane["lane"] for lane in by_lane["lanes"]]) == (2, ["gemini"])
        by_session = await queue.ask("GET", "/queue?session=s")
        assert (by_session["total"], [one["lane"] for one in by_session["waiting"]]) == (2, ["openai", "gemini"])
        page = await queue.ask("GET", "/queue?session=s&limit=1&offset=1")
        assert (page["total"], page["next"], page["waiting"][0]["request_id"]) == (2, None, wanted.id)


async def test_another_priority_moves_a_call(tmp_path: Path) -> None:
    async with steering(tmp_path) as queue:
        others = [await queue.wait("openai") for _ in range(3)]
        call = await queue.wait("openai", priority=9)
        assert (await queue.ask("GET", f"/queue/{call.id}"))["position"] == 4
        for given, priority, position in (("high", 1, 1), (0, 0, 1), ("9", 9, 4)):
            shown = await queue.ask("PATCH", f"/queue/{call.id}", json={"priority": given})
            assert (shown["priority"], shown["position"]) == (priority, position)
        assert (await queue.ask("GET", f"/queue/{others[0].id}"))["position"] == 1


@pytest.mark.parametrize(
    ("body", "status", "code", "named"),
    [
        (b"", 422, "bad_field", "priority: missing"),
        (b"{}", 422, "bad_field", "priority: missing"),
        (b'{"priority": 10}', 422, "bad_field", "priority: '10' is not a priority: high, normal"),
        (b'{"priority": -1}', 422, "bad_field", "priority: '-1'"),
        (b'{"priority": "urgent"}', 422, "bad_field", "priority: 'urgent'"),
        (b'{"priority": 1.5}', 422, "bad_field", "priority: 1.5"),
        (b'{"priority": true}', 422, "bad_field", "priority: True"),
        (b'{"priority": null}', 422, "bad_field", "priority: None"),
        (b'{"priority": 1, "prio": 2}', 422, "bad_field", "prio: unknown field; this URL takes priority"),
        (b"[1]", 400, "bad_body", "must be a JSON object"),
        (b"{priority: 1}", 400, "bad_body", "not JSON"),
        (b'{"priority": "\xff"}', 400, "bad_body", "not JSON"),
        (b" " * (1 << 20) + b"{}", 413, "body_too_large", "the body is too large"),
    ],
)
async def test_a_wrong_priority_changes_nothing_and_is_named(
    tmp_path: Path, body: bytes, status: int, code: str, named: str
) -> None:
    async with steering(tmp_path) as queue:
        call = await queue.wait("openai")
        error = await queue.ask("PATCH", f"/queue/{call.id}", status, data=io.BytesIO(body))
        assert error["code"] == code
        assert named in error["message"]
        assert error["param"] == (named.partition(":")[0] if code == "bad_field" else None)
        assert call.priority == 5


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"seconds": 0}, "seconds: 0 is not above 0"),
        ({"seconds": -5}, "seconds: -5"),
        ({"seconds": 1e300}, "seconds: 1e+300"),
        ({"seconds": "60"}, "seconds: '60' is not a number"),
        ({"seconds": True}, "seconds: True"),
        ({"reason": 5}, "reason: 5 is not text"),
        ({"reason": "x" * 201}, "reason: longer than 200"),
        ({"until": 5}, "until: unknown field; this URL takes seconds and reason"),
    ],
)
async def test_a_wrong_pause_changes_nothing_and_is_named(tmp_path: Path, body: dict[str, Any], named: str) -> None:
    async with steering(tmp_path) as queue:
        error = await queue.ask("POST", "/queue/openai/pause", 422, json=body)
        assert (error["code"], named in error["message"]) == ("bad_field", True)
        assert error["param"] == next(iter(body))
        pause = queue.lane("openai").paused
        assert pause is not None
        assert pause.reason == "test"


@pytest.mark.parametrize(
    "query", ["limit=-1", "limit=1001", "limit=x", "limit=", "offset=-1", "offset=1e3", f"offset={10**17}", "limit=٣"]
)
async def test_a_wrong_page_is_named(tmp_path: Path, query: str) -> None:
    async with steering(tmp_path) as queue:
        error = await queue.ask("GET", f"/queue?{query}", 422)
        assert error["message"].startswith(query.partition("=")[0] + ": ")


async def test_what_is_not_there_is_404_and_names_what_is(tmp_path: Path) -> None:
    async with steering(tmp_path) as queue:
        for method in ("GET", "DELETE"):
            error = await queue.ask(method, "/queue/none", 404)
            assert (error["code"], "'none'" in error["message"]) == ("not_found", True)
        assert (await queue.ask("PATCH", "/queue/none", 404, json={"priority": 1}))["code"] == "not_found"
        for verb in ("pause", "resume"):
            error = await queue.ask("POST", f"/queue/opnai/{verb}", 404)
            assert error["message"] == "no lane or upstream is named 'opnai'; there are: openai, anthropic, gemini"
        assert (await queue.ask("GET", "/queue?lane=opnai", 404))["code"] == "not_found"


async def test_a_running_call_can_be_neither_moved_nor_cancelled(tmp_path: Path) -> None:
    async with steering(tmp_path) as queue:
        queue.lane("openai").resume()
        call = await queue.wait("openai")
        assert (await queue.ask("DELETE", f"/queue/{call.id}", 409))["code"] == "already_running"
        assert (await queue.ask("PATCH", f"/queue/{call.id}", 409, json={"priority": 1}))["code"] == "already_running"
        assert queue.daemon.running == 1


async def test_other_methods_are_405_with_those_that_are_allowed(tmp_path: Path) -> None:
    async with steering(tmp_path) as queue:
        for method, path, allowed in (
            ("POST", "/queue", "GET, HEAD"),
            ("PUT", "/queue/x", "DELETE, GET, HEAD, PATCH"),
            ("GET", "/queue/openai/pause", "POST"),
        ):
            async with queue.client.request(method, path) as response:
                assert (response.status, response.headers["Allow"]) == (405, allowed)
        async with queue.client.head("/queue") as response:
            assert (response.status, await response.read()) == (200, b"")


async def test_a_pause_of_an_upstream_holds_all_its_lanes_and_a_resume_of_one_lane_only_that(tmp_path: Path) -> None:
    toml = upstream_toml("openai", "http://127.0.0.1:9", TWO_KEYS).replace('api_key = "sk-upstream"\n', "")
    async with steering(tmp_path, toml) as queue:
        first, second = await queue.wait("openai/a"), await queue.wait("openai/b")
        for path in ("/queue/openai%2Fa/resume", "/queue/openai/b/resume"):
            [lane] = (await queue.ask("POST", path))["lanes"]
            assert lane["paused"] is None
            await queue.daemon.until(lambda: first.id in shown_running(queue))
        assert shown_running(queue) == {first.id, second.id}
        body = await queue.ask("POST", "/queue/openai/pause")
        assert [(lane["lane"], lane["paused"]["reason"]) for lane in body["lanes"]] == [
            ("openai/a", ""), ("openai/b", ""),
        ]  # fmt: skip
        assert queue.daemon.running == 2


def shown_running(queue: Steered) -> set[str]:
    return {one.call.id for lane in queue.daemon.lanes for one in lane.running_calls()}


async def asked(client: RawClient, path: str) -> RawResponse:
    return await client.call("POST", path, CHAT, JSON)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/openai/v1/chat/completions", {"code": "cancelled", "param": None}),
        ("/anthropic/v1/messages", {"code": "cancelled"}),
        ("/gemini/v1beta/models/g:generateContent", {"code": 499, "details": [{"reason": "cancelled"}]}),
    ],
)
async def test_a_cancelled_client_gets_an_error_in_its_dialect_that_no_sdk_retries(
    tmp_path: Path, path: str, expected: dict[str, Any]
) -> None:
    async with FakeUpstream() as upstream, steering(tmp_path, url=upstream.url) as queue:
        async with RawClient.to(queue.daemon.port) as client:
            answer = asyncio.create_task(asked(client, path))
            await queue.daemon.until(lambda: queue.daemon.waiting == 1)
            call_id = (await queue.ask("GET", "/queue"))["waiting"][0]["request_id"]
            shown = await queue.ask("DELETE", f"/queue/{call_id}")
            assert (shown["request_id"], shown["state"], shown["position"]) == (call_id, "cancelled", None)
            refused = await answer
        assert (refused.status, refused.header("x-should-retry")) == (499, "false")
        body: Any = refused.json()
        assert {name: body["error"][name] for name in expected} == expected
        record = await queue.daemon.record(call_id)
        assert (record.outcome.status, record.outcome.error, record.outcome.attempts) == ("refused", "cancelled", 0)
        assert (upstream.requests, queue.daemon.waiting, queue.daemon.running) == ([], 0, 0)


async def test_the_openai_sdk_does_not_ask_again_after_a_cancellation(tmp_path: Path) -> None:
    async with FakeUpstream() as upstream, steering(tmp_path, url=upstream.url) as queue:
        async with openai.AsyncOpenAI(base_url=f"{queue.daemon.url}/v1", api_key="x", max_retries=5) as sdk:
            asking = asyncio.create_task(
                sdk.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}])
            )
            await queue.daemon.until(lambda: queue.daemon.waiting == 1)
            call_id = (await queue.ask("GET", "/queue"))["waiting"][0]["request_id"]
            await queue.ask("DELETE", f"/queue/{call_id}")
            with pytest.raises(openai.APIStatusError, match="cancelled by an operator") as raised:
                await asyncio.wait_for(asking, 5)
        assert raised.value.status_code == 499
        assert queue.lane("openai").granted == 0


async def test_every_field_of_an_answer_is_documented(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "queue-api.md").read_text()
    async with steering(tmp_path) as queue:
        await queue.wait("openai")
        queue.lane("gemini").resume()
        await queue.wait("gemini")
        body = await queue.ask("GET", "/queue")
    names = {*body, *body["lanes"][0], *body["lanes"][0]["paused"], *body["waiting"][0], *body["running"][0]}
    assert {name for name in names if f'"{name}"' not in text} == set()
