"""`/queue` of several daemons in one answer."""

from __future__ import annotations

from typing import Any

from llmqd.web.queue_whole import together


def lane(waiting: int, running: int = 0) -> dict[str, Any]:
    return {"lane": "openai", "waiting": waiting, "waiting_bytes": 10, "running": running, "granted": 5}


def page(*waiting: str, running: tuple[tuple[str, float], ...] = (), order: tuple[str, ...] | None = None) -> Any:
    return {
        "lanes": [lane(len(waiting), len(running))],
        "total": len(waiting),
        "running_total": len(running),
        "waiting": [{"request_id": one, "lane": "openai", "position": at} for at, one in enumerate(waiting, 1)],
        "running": [{"request_id": one, "lane": "openai", "running_ms": since} for one, since in running],
        "order": [] if order is None else [order],
    }


def test_calls_stand_in_the_order_that_the_owner_of_the_lane_knows() -> None:
    shown = together({"a": page("1", "2"), "b": page("3", "4", order=("3", "1", "4", "2"))}, 0, 50)
    assert [(each["request_id"], each["member"], each["position"]) for each in shown["waiting"]] == [
        ("3", "b", 1), ("1", "a", 2), ("4", "b", 3), ("2", "a", 4),
    ]  # fmt: skip
    assert shown["total"] == 4
    assert shown["members"] == ["a", "b"]


def test_lanes_add_up_and_tell_of_each_member() -> None:
    (one,) = together({"a": page("1"), "b": page("2", "3", running=(("4", 7.0),))}, 0, 50)["lanes"]
    assert (one["waiting"], one["running"], one["granted"]) == (3, 1, 10)
    assert one["members"] == [
        {"member": "a", "waiting": 1, "running": 0},
        {"member": "b", "waiting": 2, "running": 1},
    ]


def test_pages_go_over_all_of_them() -> None:
    pages = {"a": page("1", "2", running=(("5", 9.0),)), "b": page("3", running=(("6", 30.0),), order=("1", "3", "2"))}
    first, second = together(pages, 0, 2), together(pages, 2, 2)
    assert [each["request_id"] for each in first["waiting"] + second["waiting"]] == ["1", "3", "2"]
    assert [each["request_id"] for each in first["running"]] == ["6", "5"]
    assert (first["next"], second["next"]) == (2, None)
