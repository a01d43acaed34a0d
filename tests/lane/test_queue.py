"""The order of waiting: by priority, first come first served, whoever leaves in between."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.errors import QueueFull
from llmqd.lane.queue import CallQueue, Ticket
from tests.calls import a_call


def ticket(priority: int = 5, size: int = 0) -> Ticket:
    return Ticket(a_call(priority=priority, request_bytes=size), 0.0)


def test_higher_priority_goes_first_and_equals_in_order_of_arrival() -> None:
    queue = CallQueue()
    low, first, second, high = ticket(9), ticket(5), ticket(5), ticket(0)
    for each in (low, first, second, high):
        queue.add(each)
    assert repr(queue) == "<CallQueue 4 waiting: 0=1 5=2 9=1>"
    assert [queue.take() for _ in range(4)] == [high, first, second, low]


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
