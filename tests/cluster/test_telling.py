"""What members tell each other: batched for those who are there, bounded, and never later."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from llmqd.cluster.telling import Telling


def telling(me: str = "a", *others: str) -> Telling:
    one = Telling(me, "to:{}".format, asyncio.Event())
    one.present([me, *others])
    return one


def test_what_is_told_goes_to_all_others_at_once_and_in_order() -> None:
    one = telling("a", "b", "c")
    one.tell("x", 1)
    one.tell("y", [2], ["c"])
    said = {channel: orjson.loads(body) for channel, body in one.said()}
    assert said == {"to:b": ["a", "t", [["x", 1]]], "to:c": ["a", "t", [["x", 1], ["y", [2]]]]}
    assert one.said() == []


def test_nobody_is_told_of_what_was_said_while_nobody_was_there() -> None:
    one = telling("a")
    one.tell("x", 1)
    one.present(["a", "b"])
    assert one.said() == []
    one.tell("x", 2)
    one.present([])
    assert one.said() == []


def test_what_waits_for_one_member_is_bounded_and_the_oldest_goes() -> None:
    one = telling("a", "b")
    for number in range(5000):
        one.tell("x", number)
    [(_, body)] = one.said()
    told = orjson.loads(body)[2]
    assert (len(told), told[-1]) == (4096, ["x", 4999])


def test_what_is_heard_goes_to_whoever_wants_it_and_the_unknown_is_passed_over() -> None:
    heard: list[tuple[str, Any]] = []
    one = telling("a", "b")
    one.hears("x", lambda sender, body: heard.append((sender, body)))
    one.hear("b", [["x", 1], ["not known", 2], ["x", 3]])
    assert heard == [("b", 1), ("b", 3)]


def test_each_sign_of_life_says_who_is_new() -> None:
    one, beats = telling("a", "b"), list[frozenset[str]]()
    one.every_beat(beats.append)
    one.present(["a", "b"])
    one.present(["a", "b", "c"])
    one.present([])
    one.present(["a", "b"])
    assert beats == [frozenset(), frozenset("c"), frozenset("b")]
