"""Waiting for a lane: an asyncio queue by name and by nature, its bounds, its places, whoever leaves in between."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.errors import QueueFull
from llmqd.lane.queue import CallQueue, Ticket
from tests.calls import a_call


def ticket(priority: int = 5, size: int = 0, **fields: Any) -> Ticket:
    return Ticket(a_call(priority=priority, request_bytes=size), 0.0, **fields)


def test_higher_priority_goes_first_and_equals_in_order_of_arrival() -> None:
    queue = CallQueue()
    low, first, second, high = ticket(9), ticket(5), ticket(5), ticket(0)
    for each in (low, first, second, high):
        queue.add(each)
    assert repr(queue) == "<CallQueue 4 waiting: 0=1 5=2 9=1>"
    assert [queue.take() for _ in range(4)] == [high, first, second, low]


def test_who_passes_while_nobody_waits_is_taken_and_has_its_place_should_it_come_back() -> None:
    queue = CallQueue()
    first, second, third = ticket(flow="a"), ticket(flow="a"), ticket(flow="a")
    for each in (first, second):
        queue.pass_by(each)
        assert each.granted
    assert queue.waiting == 0
    queue.add(third)
    queue.put_back(second)
    queue.put_back(first)
    assert [queue.take() for _ in range(3)] == [first, second, third]


def test_who_has_left_is_passed_over() -> None:
    queue = CallQueue()
    gone, stays = ticket(), ticket()
    queue.add(gone)
    queue.add(stays)
    queue.discard(gone)
    queue.discard(gone)
    assert queue.waiting == 1
    assert queue.head() is stays


async def test_a_waiter_cancelled_in_this_very_tick_is_passed_over_and_no_longer_counted() -> None:
    queue = CallQueue()
    cancelled, stays = ticket(size=7), ticket(size=5)
    queue.add(cancelled)
    queue.add(stays)
    cancelled.turn = asyncio.get_running_loop().create_future()
    cancelled.turn.cancel()
    assert queue.head() is stays
    assert (queue.waiting, queue.waiting_bytes) == (1, 5)
    queue.discard(cancelled)
    assert (queue.waiting, queue.waiting_bytes) == (1, 5)


async def test_who_is_shown_and_then_cancelled_is_not_taken_and_closed_groups_stay_closed() -> None:
    queue = CallQueue()
    shown, closed, stays = ticket(), ticket(group="closed"), ticket()
    for each in (shown, closed, stays):
        queue.add(each)
    shown.turn = asyncio.get_running_loop().create_future()
    assert queue.head(closed={"closed"}) is shown
    shown.turn.cancel()
    assert queue.take() is stays
    assert not shown.granted
    assert list(queue) == [closed]


async def test_a_place_does_not_count_waiters_cancelled_in_this_very_tick() -> None:
    queue = CallQueue()
    tickets = [ticket(flow=name) for name in "aabb"]
    for each in tickets:
        queue.add(each)
    cancelled = tickets[0].turn = asyncio.get_running_loop().create_future()
    cancelled.cancel()
    assert list(queue) == [tickets[1], tickets[2], tickets[3]]
    assert [queue.position(each) for each in tickets[1:]] == [1, 2, 3]


def test_a_full_queue_refuses_and_says_which_setting() -> None:
    queue = CallQueue(max_waiting=1)
    queue.add(ticket())
    with pytest.raises(QueueFull, match="max_waiting"):
        queue.add(ticket())


def test_bytes_are_bounded_but_a_single_call_is_always_welcome() -> None:
    queue = CallQueue(max_bytes=100)
    large = ticket(size=500)
    queue.add(large)
    with pytest.raises(QueueFull, match="max_waiting_bytes"):
        queue.add(ticket(size=1))
    queue.discard(large)
    queue.add(ticket(size=60))
    queue.add(ticket(size=40))
    with pytest.raises(QueueFull):
        queue.add(ticket(size=1))


def test_one_caller_cannot_fill_the_queue_for_all() -> None:
    queue = CallQueue(max_waiting_per_flow=2, max_bytes_per_flow=100)
    queue.add(ticket(flow="a", size=60))
    with pytest.raises(QueueFull, match=r"60 bytes of this caller .* max_waiting_bytes_per_flow \(100\)"):
        queue.add(ticket(flow="a", size=41))
    queue.add(ticket(flow="a", size=40, priority=9, group="other"))
    with pytest.raises(QueueFull, match=r"2 calls of this caller are waiting already, .* max_waiting_per_flow"):
        queue.add(ticket(flow="a"))
    queue.add(ticket(flow="b", size=500))
    queue.take()
    queue.add(ticket(flow="a", size=60))
    assert queue.waiting == 3


def test_a_call_that_is_put_back_is_let_in_whatever_the_bounds() -> None:
    queue = CallQueue(max_waiting=1, max_bytes=10, max_waiting_per_flow=1)
    retried, other = ticket(size=10), ticket(size=10)
    queue.add(retried)
    queue.take()
    queue.add(other)
    queue.put_back(retried)
    queue.put_back(other)
    assert (queue.waiting, queue.waiting_bytes, retried.granted) == (2, 20, False)
    assert [queue.take(), queue.take()] == [retried, other]


async def test_a_call_that_is_put_back_waits_for_a_new_turn() -> None:
    queue = CallQueue()
    retried = ticket()
    queue.add(retried)
    turn = retried.turn = asyncio.get_running_loop().create_future()
    assert queue.take() is retried
    turn.set_result(None)
    queue.put_back(retried)
    assert not retried.granted
    assert not retried.gone
    assert queue.head() is retried


def test_a_call_is_found_as_long_as_it_waits() -> None:
    queue = CallQueue()
    first, second = ticket(), ticket()
    queue.add(first)
    queue.add(second)
    assert queue.find(second.call.id) is second
    queue.take()
    queue.discard(second)
    assert queue.find(first.call.id) is queue.find(second.call.id) is None
    queue.put_back(first)
    assert queue.find(first.call.id) is first
    assert queue.find("unknown") is None


def test_another_priority_moves_a_call_that_waits_and_only_such_a_call() -> None:
    queue = CallQueue()
    first, second, third = ticket(8), ticket(8), ticket(8)
    for each in (first, second, third):
        queue.add(each)
    queue.reprioritise(third, 0)
    assert repr(queue) == "<CallQueue 3 waiting: 0=1 8=2>"
    assert queue.take() is third
    queue.reprioritise(third, 5)
    queue.discard(second)
    queue.reprioritise(second, 5)
    assert [third.call.priority, second.call.priority] == [0, 8]
    assert list(queue) == [first]


async def test_it_is_an_asyncio_priority_queue() -> None:
    queue = CallQueue()
    assert isinstance(queue, asyncio.PriorityQueue)
    assert (queue.qsize(), queue.empty()) == (0, True)
    with pytest.raises(asyncio.QueueEmpty):
        queue.get_nowait()
    getter = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    low, high = ticket(9), ticket(0)
    await queue.put(low)
    queue.put_nowait(high)
    assert (queue.qsize(), queue.empty()) == (2, False)
    assert await getter is high
    assert queue.get_nowait() is low
    assert queue.empty()


async def test_a_queue_in_which_everybody_has_just_been_cancelled_is_empty() -> None:
    queue = CallQueue()
    cancelled = ticket()
    queue.add(cancelled)
    cancelled.turn = asyncio.get_running_loop().create_future()
    cancelled.turn.cancel()
    assert queue.empty()
    with pytest.raises(asyncio.QueueEmpty):
        queue.take()


def test_a_ticket_refuses_shares_that_cannot_be_reckoned_with() -> None:
    for weight, cost in ((0.0, 1.0), (-1.0, 1.0), (1.0, -1.0), (1.0, float("nan"))):
        with pytest.raises(ValueError, match="weight above 0"):
            ticket(weight=weight, cost=cost)


@pytest.mark.parametrize("flows", [1, 10_000])
def test_a_waiting_call_takes_less_than_10_kb_and_gives_it_back(flows: int) -> None:
    queue = CallQueue(ageing=300)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tickets = [ticket(flow=f"flow{number % flows}") for number in range(10_000)]
        for each in tickets:
            queue.add(each)
        all_wait = tracemalloc.get_traced_memory()[0] - before
        assert all_wait <= 10_000 * 10_000
        for each in tickets[:9000]:
            queue.discard(each)
        del each, tickets[:9000]
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before <= all_wait / 4
    finally:
        tracemalloc.stop()
    assert queue.waiting == 1000


def test_position_counts_only_who_really_goes_before() -> None:
    queue = CallQueue()
    tickets = [ticket(5), ticket(5), ticket(1), ticket(9)]
    for each in tickets:
        queue.add(each)
    queue.discard(tickets[0])
    assert [queue.position(each) for each in tickets[1:]] == [2, 1, 3]
    assert queue.ahead_of(5) == 2


def test_places_of_those_who_left_are_swept_out() -> None:
    queue = CallQueue()
    tickets = [ticket() for _ in range(1000)]
    for each in tickets:
        queue.add(each)
    for each in tickets[:-10]:
        queue.discard(each)
    assert queue.qsize() <= 64
    assert queue.head() is tickets[-10]
    assert [queue.take() for _ in range(10)] == tickets[-10:]


@given(st.lists(st.one_of(st.integers(0, 9), st.just("leave"), st.just("take")), max_size=300))
def test_behaves_like_a_sorted_list(steps: list[object]) -> None:
    queue, model = CallQueue(), list[Ticket]()
    for number, step in enumerate(steps):
        if isinstance(step, int):
            made = ticket(step, size=number)
            queue.add(made)
            model.append(made)
            model.sort(key=lambda each: each.call.priority)
        elif model and step == "leave":
            queue.discard(left := model.pop(number % len(model)))
            assert left.gone
        elif model:
            assert queue.head() is model[0]
            assert queue.take() is model.pop(0)
        assert (queue.waiting, queue.waiting_bytes) == (len(model), sum(each.size for each in model))
        assert list(queue) == model
