"""The lane that decides for all daemons, in virtual time: one order and fair shares, wherever calls wait."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count, pairwise
from typing import Any

import pytest

from llmqd.cluster import codec
from llmqd.cluster.arbiter import Arbiter
from llmqd.cluster.news import News
from llmqd.cluster.owned_lane import OwnedLane
from llmqd.cluster.redis_time import RedisTime
from llmqd.cluster.slots import LATE
from llmqd.config.model import Key, Limits, Queue
from llmqd.lane.throttle import Demand, Throttle
from llmqd.lane.ticket import Ticket
from tests.calls import a_call
from tests.clock import run_virtual


class Members:
    """Plays the daemons: each call that is let through leaves at its moment, and has ended soon after."""

    def __init__(self) -> None:
        self.clock = asyncio.get_running_loop().time
        self.turns: list[tuple[str, str]] = []
        """Who had a turn: member and flow."""
        self.left: list[float] = []
        """When."""
        self.late = 0.0
        """The share of the time for which its turn is valid that a call leaves late by."""
        self.valid = 0.0
        """For how many seconds the last turn could be used."""
        self.arbiter: Arbiter
        self._numbers = count(1)
        self._flows: dict[tuple[str, int], str] = {}

    def ask(self, member: str, flow: str, priority: int = 5) -> None:
        """A call asks for its turn."""
        number = next(self._numbers)
        ticket = Ticket(a_call(priority=priority), self.clock(), flow=flow)
        ticket.demand = Demand()
        self._flows[member, number] = flow
        self.arbiter.receive(member, ["e", codec.ask(number, ticket, 0.0)])

    def post(self, member: str, message: list[Any]) -> None:
        """What the arbiter says."""
        if message[0] == "g":
            self.valid = message[3]
            loop = asyncio.get_running_loop()
            loop.call_at(max(message[2], loop.time()) + self.late * message[3], self._leave, member, message[1])

    def _leave(self, member: str, number: int) -> None:
        self.turns.append((member, self._flows[member, number]))
        now = self.clock()
        self.left.append(now)
        self.arbiter.receive(member, ["s", number, now, now])
        asyncio.get_running_loop().call_later(0.05, self.arbiter.receive, member, ["l", number, None, True])


@asynccontextmanager
async def deciding(limits: Limits) -> AsyncIterator[Members]:
    members = Members()
    throttle = Throttle(limits, learns=False, noise=lambda: 0.0, wall_offset=0.0)
    key = Key(name="default", limits=limits)
    queue, news = Queue(), News()
    lane = OwnedLane("l", "l", key, queue, news=news, throttle=throttle, clock=members.clock, announce=lambda _: None)
    time = RedisTime(members.clock)
    members.arbiter = Arbiter(lane, 1, "a", time, members.post, clock=members.clock, waits_for=())
    for member in "abcd":
        members.arbiter.report(member, 1, [[], [], [], [], None])
    members.arbiter.start([], {})
    try:
        yield members
    finally:
        members.arbiter.stop()
        await asyncio.sleep(0)


def test_an_urgent_call_is_the_next_one_past_a_thousand_that_wait_elsewhere() -> None:
    async def scenario() -> None:
        async with deciding(Limits(600, 1)) as members:
            for _ in range(1000):
                members.ask("a", "many", priority=7)
            await asyncio.sleep(1)
            before = len(members.turns)
            members.ask("b", "one", priority=1)
            await asyncio.sleep(1)
            assert ("b", "one") in members.turns[before : before + 2]  # one may have had its turn already

    run_virtual(scenario())


def test_when_silent_daemons_are_back_the_next_call_keeps_away_from_those_that_were_given_slots() -> None:
    async def scenario() -> None:
        async with deciding(Limits(600, 1)) as members:
            members.arbiter.view()
            members.arbiter.share(2, (2, 3), 4)
            await asyncio.sleep(0.7 - members.clock() % 0.5)  # two slots of others are next
            members.late = 0.99
            members.ask("a", "slow")
            members.late = 0.0
            assert 0.0 < members.valid <= LATE * 0.126  # the next slot is somebody else's
            members.arbiter.share(4, (), 4)
            for _ in range(6):
                members.ask("b", "quick")
            await asyncio.sleep(2)
            assert len(members.left) == 7
            assert min(later - earlier for earlier, later in pairwise(sorted(members.left))) >= 0.1

    run_virtual(scenario())


@pytest.mark.parametrize(
    "limits",
    [Limits(600, 1), Limits(600, 600, algorithm="bucket"), Limits(600, algorithm="fixed")],
    ids=["evenly", "bucket", "fixed window"],
)
def test_shares_are_fair_over_all_daemons(limits: Limits) -> None:
    async def scenario() -> None:
        async with deciding(limits) as members:
            crowds = {"a": 600, "b": 400, "c": 500, "d": 450}
            members.arbiter.receive("a", ["P", None, "until all are there"])
            for member, size in crowds.items():
                for _ in range(size):
                    members.ask(member, member)
            members.arbiter.receive("a", ["U"])
            await asyncio.sleep(61)
            turns = Counter(flow for _, flow in members.turns)
            fair = sum(turns.values()) / len(crowds)
            assert 120 < fair < min(crowds.values())
            assert all(abs(got - fair) <= 0.03 * fair for got in turns.values()), turns

    run_virtual(scenario())


def test_calls_that_go_without_asking_are_counted_and_a_refusal_of_one_holds_all() -> None:
    async def scenario() -> None:
        async with deciding(Limits(0)) as members:
            arbiter = members.arbiter
            assert arbiter.view().free
            arbiter.receive("a", ["f", 3, 7])
            assert arbiter.view()[:3] == (0, 3, 7)
            ticket = Ticket(a_call(), members.clock(), flow="one")
            arbiter.receive("b", ["t", codec.ask(1, ticket, 0.0), members.clock()])
            arbiter.receive("b", ["r", 1, {"kind": "wait", "reason": "429", "wait": 5.0}, []])
            arbiter.receive("b", ["l", 1, None, False])
            assert not arbiter.view().free
            members.ask("a", "two")
            assert members.turns == []
            arbiter.receive("a", ["f", 0, 0])
            await asyncio.sleep(7)
            assert members.turns == [("a", "two")]
            arbiter.receive("a", ["f", 2, 2])
            arbiter.forget("a")
            assert arbiter.view().running == 0

    run_virtual(scenario())
