"""The end of waits that have become too long, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

from llmqd.lane.deadlines import Deadlines
from llmqd.lane.ticket import Ticket
from tests.calls import a_call
from tests.clock import run_virtual

Expired = list[tuple[float, Ticket]]


def now() -> float:
    return asyncio.get_running_loop().time() - 1000.0


def waiting(until: float) -> Ticket:
    ticket = Ticket(a_call(), 1000.0)
    ticket.until = 1000.0 + until
    return ticket


def play(scenario: Callable[[Deadlines, Expired], Coroutine[object, object, None]]) -> Expired:
    expired: Expired = []

    async def run() -> None:
        def expire(ticket: Ticket) -> None:
            expired.append((now(), ticket))
            ticket.left = True

        await scenario(Deadlines(expire, asyncio.get_running_loop().time), expired)

    run_virtual(run())
    return expired


def test_each_wait_ends_at_its_own_moment_whatever_the_order_in_which_they_came() -> None:
    tickets = [waiting(until) for until in (30, 10, 20)]

    async def scenario(deadlines: Deadlines, _: Expired) -> None:
        for ticket in tickets:
            deadlines.begin(ticket)
        await asyncio.sleep(60)

    assert play(scenario) == [(10, tickets[1]), (20, tickets[2]), (30, tickets[0])]


def test_a_wait_that_is_over_does_not_end_again_and_those_behind_it_do() -> None:
    granted, left, stays = waiting(10), waiting(11), waiting(12)

    async def scenario(deadlines: Deadlines, _: Expired) -> None:
        for ticket in (granted, left, stays):
            deadlines.begin(ticket)
        granted.granted, left.left = True, True
        deadlines.end()
        deadlines.end()
        await asyncio.sleep(60)

    assert play(scenario) == [(12, stays)]


def test_a_deadline_that_is_past_ends_the_wait_at_once() -> None:
    late = waiting(-5)

    async def scenario(deadlines: Deadlines, _: Expired) -> None:
        deadlines.begin(late)
        await asyncio.sleep(1)

    assert play(scenario) == [(0, late)]


def test_a_wait_that_begins_again_ends_once() -> None:
    again = waiting(10)

    async def scenario(deadlines: Deadlines, _: Expired) -> None:
        deadlines.begin(again)
        again.granted = True
        deadlines.end()
        again.granted = False
        deadlines.begin(again)
        await asyncio.sleep(60)

    assert play(scenario) == [(10, again)]


def test_waits_that_are_over_are_not_remembered_until_their_deadlines() -> None:
    async def scenario(deadlines: Deadlines, _: Expired) -> None:
        tickets = [waiting(3600) for _ in range(1000)]
        for ticket in tickets:
            deadlines.begin(ticket)
        for ticket in tickets:
            ticket.left = True
            deadlines.end()
        assert len(deadlines) <= 130

    assert play(scenario) == []
