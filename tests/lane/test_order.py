"""Who is next: bands, fair shares, ageing, groups that are held back; and the same rules written down plainly."""

from __future__ import annotations

import gc
import itertools
import random
from collections import Counter
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.lane.amounts import Ask
from llmqd.lane.order import LIFTED_AFTER, Order
from llmqd.lane.shares import SWEEP_ABOVE, Backlog, Band, Group
from llmqd.lane.ticket import Ticket
from tests.calls import a_call


def ticket(flow: str = "", *, priority: int = 5, since: float = 0.0, **fields: Any) -> Ticket:
    return Ticket(a_call(priority=priority), since, flow=flow, **fields)


def fill(order: Order, *tickets: Ticket) -> None:
    for each in tickets:
        order.push(each)


def turn(order: Order, now: float | None = None, closed: Container[str] = ()) -> Ticket:
    shown = order.head(now, closed)
    assert shown is not None
    assert order.take() is shown
    return shown


def flows(order: Order, turns: int) -> str:
    return "".join(turn(order).flow for _ in range(turns))


# Fair shares


def test_flows_take_turns_however_many_calls_each_has() -> None:
    order = Order()
    fill(order, *(ticket("a") for _ in range(5)), ticket("b"), ticket("b"), ticket("c"))
    assert flows(order, 8) == "abcabaaa"


def test_whoever_sends_one_call_waits_two_turns_at_most_behind_a_flood_of_a_thousand() -> None:
    order = Order()
    fill(order, *(ticket("flood") for _ in range(1000)))
    for _ in range(300):
        turn(order)
    one = ticket("one")
    order.push(one)
    assert one in [turn(order), turn(order)]


@pytest.mark.parametrize("cost", [1.0, 700.0])
def test_weights_of_3_to_1_give_3_to_1_within_2_percent_over_500_turns(cost: float) -> None:
    order = Order()
    for _ in range(500):
        fill(order, ticket("heavy", weight=3.0, cost=cost), ticket("light", weight=1.0, cost=cost))
    got = Counter(turn(order).flow for _ in range(500))
    assert got["heavy"] / got["light"] == pytest.approx(3, rel=0.02)


def test_equal_weights_are_served_equally_when_costs_vary_20_fold() -> None:
    order, noise = Order(), random.Random(7)
    served = dict.fromkeys("abcdefgh", 0.0)
    most = {name: 20.0 if name in "abcd" else 4.0 for name in served}
    for _ in range(2000):
        for name in served:
            order.push(ticket(name, cost=noise.uniform(1.0, most[name])))
    for _ in range(4000):
        taken = turn(order)
        served[taken.flow] += taken.cost
    jain = sum(served.values()) ** 2 / (len(served) * sum(one**2 for one in served.values()))
    assert jain >= 0.99


def test_a_flow_that_was_idle_has_saved_nothing_up() -> None:
    order = Order()
    fill(order, *(ticket("a") for _ in range(100)))
    order.push(ticket("b"))
    flows(order, 50)
    fill(order, *(ticket("b") for _ in range(50)))
    assert abs(flows(order, 20).count("b") - 10) <= 1


def test_emptying_its_backlog_gives_a_flow_no_fresh_start() -> None:
    order = Order()
    fill(order, *(ticket("a", cost=1.0) for _ in range(200)))
    got = {"a": 0.0, "b": 0.0}
    for _ in range(100):
        order.push(ticket("b", cost=10.0))  # one at a time, each ten times as dear
        while (taken := turn(order)).flow != "b":
            got["a"] += taken.cost
            order.push(ticket("a", cost=1.0))
        got["b"] += taken.cost
    assert got["a"] == pytest.approx(got["b"], rel=0.05)


def test_an_endless_row_of_new_flows_does_not_keep_out_one_that_had_its_turn() -> None:
    order = Order()
    old = [ticket("old") for _ in range(5)]
    fill(order, *old)
    for number in range(20):
        order.push(ticket(f"new{number}"))
        turn(order)
    assert all(each.granted for each in old)


def test_a_call_that_leaves_costs_its_flow_nothing() -> None:
    order = Order()
    left = [ticket("a", cost=1000.0) for _ in range(10)]
    fill(order, *left, ticket("b"), ticket("a"), ticket("b"))
    for each in left:
        order.remove(each)
    assert flows(order, 3) == "bab"


def test_a_single_flow_is_first_come_first_served_whatever_it_costs() -> None:
    order, noise = Order(), random.Random(3)
    tickets = [ticket(cost=noise.uniform(0, 9), weight=noise.uniform(1, 5)) for _ in range(100)]
    fill(order, *tickets)
    assert [turn(order) for _ in tickets] == tickets


def test_extreme_weights_that_come_and_go_leave_the_account_usable() -> None:
    order = Order()
    fill(order, ticket("tiny", weight=1e-9), ticket("tiny", weight=1e-9))
    for _ in range(50):
        order.push(ticket("huge", weight=1e12))
        assert turn(order).flow in ("huge", "tiny")
    assert flows(order, len(order)).count("tiny") == 1


# Retries


def test_a_call_that_is_put_back_has_its_own_place_again() -> None:
    order = Order()
    tickets = [ticket(name) for name in "aaabbb"]
    fill(order, *tickets)
    before = list(order)
    for taken in [1, 2, 3]:
        had = [turn(order) for _ in range(taken)]
        for each in reversed(had):
            order.put_back(each)
        assert list(order) == before


@pytest.mark.parametrize("cost", [0.1, 0.3, 1 / 3, 0.7, 1.1])
def test_a_flow_gets_back_what_a_retried_call_was_charged(cost: float) -> None:
    order = Order()
    for _ in range(40):
        fill(order, ticket("a", cost=cost), ticket("b", cost=cost))
    for _ in range(40):
        retried = turn(order)
        order.put_back(retried)
        assert turn(order) is retried
        assert turn(order).flow != retried.flow


def test_rounding_does_not_decide_between_a_retried_call_and_its_equals() -> None:
    order = Order()
    for cost in (0.7, 1234.5):
        fill(order, ticket("a", cost=cost), ticket("b", cost=cost))
    flows(order, 2)
    retried = turn(order)
    order.put_back(retried)
    assert turn(order) is retried


def test_a_retry_of_the_only_call_is_next_even_when_others_came_meanwhile() -> None:
    order = Order()
    first = ticket("a", since=1.0)
    order.push(first)
    turn(order)
    fill(order, ticket("b", since=2.0), ticket("a", since=2.0))
    order.put_back(first)
    assert turn(order) is first


# Priority


def test_a_high_call_passes_a_thousand_low_ones_at_the_next_turn() -> None:
    order = Order()
    fill(order, *(ticket("a", priority=8) for _ in range(1000)))
    turn(order)
    high = ticket("a", priority=1)
    order.push(high)
    assert turn(order) is high


def test_a_call_with_another_priority_keeps_its_time_of_arrival() -> None:
    order = Order()
    first, second, third = ticket(priority=8), ticket(priority=5), ticket(priority=5)
    fill(order, first, second, third)
    order.move(first, 5)
    assert list(order) == [first, second, third]
    order.move(second, 0)
    order.move(second, 9)
    assert order.sizes() == {5: 2, 9: 1}
    assert [turn(order) for _ in range(3)] == [first, third, second]
    order.move(first, 0)
    assert len(order) == 0


# Ageing


def overload(order: Order, batch: Ticket, *, ageing: float, interval: float) -> float:
    """Seconds that `batch` waits while a high call comes with every turn."""
    order.ageing = ageing
    fill(order, *(ticket("high", priority=0) for _ in range(10)), batch)
    for step in itertools.count(1):
        now = step * interval
        order.push(ticket("high", priority=0, since=now))
        if turn(order, now) is batch:
            return now - batch.since
    raise AssertionError


@pytest.mark.parametrize("interval", [0.001, 1.0, 15.0])
def test_a_batch_call_under_constant_high_load_is_served_within_ageing(interval: float) -> None:
    waited = overload(Order(), ticket("batch", priority=9), ageing=60.0, interval=interval)
    assert 60.0 * LIFTED_AFTER <= waited <= 60.0


def test_calls_that_wait_too_long_get_every_second_turn_so_that_priorities_still_count() -> None:
    order = Order()
    order.ageing = 10.0
    for _ in range(100):
        fill(order, ticket("batch", priority=9), ticket("high", priority=0))
    assert [turn(order, 100.0).flow for _ in range(6)] == ["batch", "high"] * 3
    assert Counter(turn(order, 100.0).flow for _ in range(100)) == {"batch": 50, "high": 50}


def test_of_the_bands_that_wait_too_long_the_one_with_the_oldest_call_is_lifted() -> None:
    order = Order()
    order.ageing = 10.0
    low = ticket("a", priority=7, since=2.0)
    batch = ticket("a", priority=9, since=1.0)
    fill(order, low, batch, *(ticket("a", priority=0, since=9.0) for _ in range(4)))
    assert [turn(order, 20.0).call.priority for _ in range(6)] == [9, 0, 7, 0, 0, 0]


def test_age_gives_a_flood_no_right_over_another_flow_of_its_band() -> None:
    order = Order()
    order.ageing = 10.0
    fill(order, *(ticket("flood", since=0.0) for _ in range(1000)))
    for now in range(100, 200):
        turn(order, now)
    one = ticket("one", since=200.0)
    order.push(one)
    assert one in [turn(order, 200.0), turn(order, 200.0)]


def test_without_ageing_a_low_call_waits_for_ever() -> None:
    order = Order()
    low = ticket(priority=9)
    order.push(low)
    for now in range(1000):
        order.push(ticket(priority=0, since=now * 1e6))
        assert turn(order, now * 1e6) is not low


# Groups


def test_a_closed_group_holds_nobody_else_up() -> None:
    order = Order()
    blocked = [ticket("a", group="opus", priority=0) for _ in range(3)]
    fill(order, *blocked, ticket("a", group="haiku"))
    assert turn(order, closed={"opus"}).group == "haiku"
    assert order.head(closed={"opus"}) is None
    assert order.head() is blocked[0]
    assert order.head(closed={"opus", "haiku"}) is None


def test_a_call_whose_group_is_closed_is_not_lifted() -> None:
    order = Order()
    order.ageing = 10.0
    fill(order, ticket(group="opus", priority=9), *(ticket(group="haiku", priority=0) for _ in range(3)))
    assert [turn(order, 100.0, {"opus"}).group for _ in range(2)] == ["haiku"] * 2
    assert [turn(order, 100.0).group for _ in range(2)] == ["opus", "haiku"]


def test_a_group_that_was_closed_has_saved_nothing_up() -> None:
    order = Order()
    for _ in range(300):
        fill(order, ticket("a", group="opus"), ticket("a", group="haiku"))
    for _ in range(100):
        turn(order, closed={"opus"})
    got = Counter(turn(order).group for _ in range(20))
    assert abs(got["opus"] - got["haiku"]) <= 2


def test_a_flow_waits_two_turns_at_most_behind_a_flood_in_another_group() -> None:
    order = Order()
    fill(order, *(ticket("flood", group="opus") for _ in range(1000)))
    for _ in range(300):
        turn(order)
    one = ticket("one", group="haiku")
    order.push(one)
    assert one in [turn(order), turn(order)]


def test_what_a_flow_had_in_a_fast_group_does_not_count_in_a_slow_one() -> None:
    order = Order()
    fill(order, *(ticket("both", group="fast") for _ in range(500)))
    for _ in range(400):
        turn(order, closed={"slow"})
    for _ in range(20):
        fill(order, ticket("both", group="slow"), ticket("slow", group="slow"))
    got = Counter(turn(order, closed={"fast"}).flow for _ in range(20))
    assert got == {"both": 10, "slow": 10}


def test_ten_thousand_blocked_calls_are_not_looked_at() -> None:
    order = Order()
    for number in range(10_000):
        order.push(ticket(f"flow{number % 100}", group=f"blocked{number % 5}", priority=number % 3))
    free = ticket("free", group="open", priority=9)
    order.push(free)
    looks = 0

    class Closed(Container[str]):
        def __contains__(self, name: object) -> bool:
            nonlocal looks
            looks += 1
            return str(name).startswith("blocked")

    assert order.head(closed=Closed()) is free
    assert looks <= 3 * 5 + 1


# Memory


def test_half_of_two_thousand_leaving_at_once_gives_their_memory_back() -> None:
    order = Order()
    tickets = [ticket(f"flow{number % 50}", since=float(number)) for number in range(2000)]
    fill(order, *tickets)
    for each in tickets[::2]:
        order.remove(each)
    for each in tickets[1::4]:
        order.remove(each)
    del each
    assert len(order) == 500
    assert len(reachable(order, Ticket)) <= 2 * len(order) + SWEEP_ABOVE
    assert [turn(order).left for _ in range(500)] == [False] * 500
    assert not order


def test_flows_that_have_gone_are_forgotten() -> None:
    order = Order()
    fill(order, *(ticket("stays", cost=5.0) for _ in range(2000)))
    for number in range(5000):
        order.push(ticket(f"flow{number}", cost=float(1 + number % 20)))
        turn(order)
        order.push(ticket("stays", cost=5.0))
        turn(order)
    group = next(each for each in reachable(order, Group) if isinstance(each, Group))
    assert group.time.remembered <= 4 * SWEEP_ABOVE
    assert len(group.backlogs) <= 3


def test_a_lane_that_runs_empty_keeps_no_account() -> None:
    order = Order()
    for number in range(100):
        fill(order, ticket(f"flow{number}", group=f"group{number}", priority=number % 10))
        turn(order)
    assert order.sizes() == {}
    assert (order.tally.by_id, order.tally.of("flow1")) == ({}, (0, 0))


def test_calls_that_have_gone_are_forgotten() -> None:
    order = Order()
    order.push(ticket("stays", cost=1e9))
    order.push(ticket("stays"))
    turn(order)
    for number in range(3000):
        order.push(ticket(f"flow{number}"))
        turn(order)
    assert len(reachable(order, Ticket)) <= 2 * SWEEP_ABOVE


def test_moving_a_call_to_and_fro_leaves_nothing_behind() -> None:
    order = Order()
    moved = ticket("moved")
    fill(order, ticket("stays", priority=5), ticket("stays", priority=9), moved)
    for number in range(1000):
        order.move(moved, (5, 9)[number % 2])
    assert len(reachable(order, Backlog)) <= 4 * SWEEP_ABOVE
    assert len(order) == 3


def test_a_running_call_keeps_no_other_in_memory() -> None:
    order = Order()
    tickets = [ticket() for _ in range(50)]
    fill(order, *tickets)
    while order:
        last = turn(order)
    assert reachable(last, Ticket) == [last]


def reachable(start: object, kind: type[object]) -> list[object]:
    """All objects of a kind that `start` keeps in memory."""
    seen = {id(start): start}
    ahead = [start]
    while ahead:
        for each in gc.get_referents(ahead.pop()):
            if id(each) not in seen and isinstance(each, list | tuple | dict | Order | Band | Group | Backlog | Ticket):
                seen[id(each)] = each
                ahead.append(each)
    return [each for each in seen.values() if isinstance(each, kind)]


# The same rules, written down plainly


@dataclass
class Account:
    """Virtual time of some competitors and their tags."""

    now: float = 0.0
    tags: dict[str, float] = field(default_factory=dict)

    def enter(self, name: str) -> None:
        self.tags[name] = max(self.tags.get(name, 0.0), self.now)


class Reference:
    """Every question looks at every waiting call; nothing is kept sorted."""

    def __init__(self, ageing: float) -> None:
        self.ageing = ageing
        self.waiting: list[Ticket] = []
        self.lifted = False
        self.bands: dict[int, Account] = {}
        self.groups: dict[tuple[int, str], Account] = {}
        self.weights: dict[tuple[int, str, str], float] = {}
        self.paid: dict[Ticket, tuple[Account, float, float, float]] = {}

    def push(self, one: Ticket) -> None:
        priority, group = one.call.priority, one.group
        band = self.bands.setdefault(priority, Account())
        if (priority, group) not in self.groups:
            band.enter(group)
        account = self.groups.setdefault((priority, group), Account())
        if (priority, group, one.flow) not in self.weights:
            account.enter(one.flow)
        self.weights[priority, group, one.flow] = one.weight
        self.waiting.append(one)

    def put_back(self, one: Ticket) -> None:
        place = (one.call.priority, one.group)
        account, start, end, share = self.paid[one]
        if self.groups.get(place) is not account:
            self.push(one)
            return
        kept = account.tags[one.flow]
        if (*place, one.flow) not in self.weights and kept <= account.now:
            kept = end
        account.tags[one.flow] = start if kept == end else kept - (end - start)
        self.bands[place[0]].tags[one.group] -= share
        self.weights[*place, one.flow] = one.weight
        self.waiting.append(one)

    def remove(self, one: Ticket) -> None:
        self.waiting.remove(one)
        place = (one.call.priority, one.group)
        if all((each.call.priority, each.group, each.flow) != (*place, one.flow) for each in self.waiting):
            del self.weights[*place, one.flow]
        if all((each.call.priority, each.group) != place for each in self.waiting):
            del self.groups[place]
        if all(each.call.priority != place[0] for each in self.waiting):
            del self.bands[place[0]]

    def head(self, now: float, closed: Container[str]) -> tuple[Ticket | None, bool]:
        free = [each for each in self.waiting if each.group not in closed]
        if not free:
            return None, False
        band = min(each.call.priority for each in free)
        due = [
            (each.since, each.number, each.call.priority)
            for each in free
            if each.call.priority > band and each.since <= now - self.ageing * LIFTED_AFTER
        ]
        lifted = bool(self.ageing and due and not self.lifted)
        if lifted:
            band = min(due)[2]
        firsts: dict[str, Ticket] = {}
        for each in sorted(free, key=lambda one: (self._tag(one), one.since, one.number)):
            if each.call.priority == band:
                firsts.setdefault(each.group, each)
        tags = self.bands[band].tags
        return min(firsts.values(), key=lambda one: (tags[one.group], one.since, one.number)), lifted

    def take(self, one: Ticket, lifted: bool, closed: Container[str]) -> None:
        self.lifted = lifted
        priority, group = one.call.priority, one.group
        band, account = self.bands[priority], self.groups[priority, group]
        own = self.weights[priority, group, one.flow]
        in_group = sum(weight for key, weight in self.weights.items() if key[:2] == (priority, group))
        in_band = sum(weight for key, weight in self.weights.items() if key[0] == priority)
        start, share = account.tags[one.flow], one.cost / in_group
        account.tags[one.flow] = start + one.cost / own
        account.now = max(account.now + one.cost / in_group, start)
        band.now = max(band.now + one.cost / in_band, band.tags[group])
        band.tags[group] += share
        self.paid[one] = account, start, account.tags[one.flow], share
        self.remove(one)
        for each in self.waiting:
            if each.call.priority == priority and each.group in closed:
                band.tags[each.group] = max(band.tags[each.group], band.now)

    def _tag(self, one: Ticket) -> float:
        return self.groups[one.call.priority, one.group].tags[one.flow]


ARRIVALS = st.tuples(
    st.just("add"),
    st.fixed_dictionaries(
        {
            "flow": st.sampled_from("abc"),
            "group": st.sampled_from("xyz"),
            "weight": st.sampled_from([0.5, 1.0, 4.0]),
            "cost": st.sampled_from([0.0, 1.0, 2.0, 16.0]),
            "priority": st.sampled_from([0, 5, 9]),
            "since": st.sampled_from([0.0, 0.0, 3.0, 30.0]),  # how long it has waited elsewhere
        }
    ),
)
STEPS = st.one_of(
    ARRIVALS,
    ARRIVALS,
    st.tuples(st.sampled_from(["leave", "put back"]), st.integers(0, 99)),
    st.tuples(st.just("take"), st.sets(st.sampled_from("xyz"), max_size=2)),
    st.tuples(st.just("take"), st.just(frozenset[str]())),
    st.tuples(st.just("move"), st.tuples(st.integers(0, 99), st.sampled_from([0, 5, 9]))),
    st.tuples(st.just("wait"), st.sampled_from([0.5, 4.0, 20.0])),
)


class Both:
    """An Order and the plain rules, led through the same steps."""

    def __init__(self, ageing: float) -> None:
        self.order, self.plain = Order(), Reference(ageing)
        self.order.ageing = ageing
        self.now = 100.0
        self.taken: list[Ticket] = []

    def step(self, step: str, what: Any) -> None:
        waiting = self.plain.waiting
        if step == "add":
            made = ticket(**(what | {"since": self.now - what["since"]}))
            self.order.push(made)
            self.plain.push(made)
        elif step == "wait":
            self.now += what
        elif step == "take":
            self.take(what)
        elif step == "put back" and self.taken:
            again = self.taken.pop(what % len(self.taken))
            self.order.put_back(again)
            self.plain.put_back(again)
        elif step == "leave" and waiting:
            left = waiting[what % len(waiting)]
            self.plain.remove(left)
            self.order.remove(left)
        elif step == "move" and waiting:
            index, priority = what
            moved = waiting[index % len(waiting)]
            self.plain.remove(moved)
            self.order.move(moved, priority)
            self.plain.push(moved)

    def take(self, closed: Container[str]) -> None:
        expected, lifted = self.plain.head(self.now, closed)
        assert self.order.head(self.now, closed) is expected
        if expected is not None:
            assert self.order.take() is expected
            self.plain.take(expected, lifted, closed)
            self.taken.append(expected)

    def compare(self) -> None:
        waiting = self.plain.waiting
        assert set(self.order.tally.by_id) == {each.call.id for each in waiting}
        assert len(self.order) == len(waiting)
        assert self.order.ahead_of(5) == sum(each.call.priority <= 5 for each in waiting)

    def drain(self) -> None:
        """Takes everybody, and sees that they come as was foretold."""
        self.order.head(self.now)
        coming = list(self.order)
        assert [self.order.rank(each) for each in coming] == list(range(1, len(self.plain.waiting) + 1))
        self.taken.clear()
        for _ in coming:
            self.take(())
        assert self.taken == coming
        assert self.order.sizes() == {}


AGEING = [0.0, 8.0, 40.0]


@given(st.lists(STEPS, max_size=60), st.sampled_from(AGEING))
def test_decides_as_the_plain_rules_do_whatever_happens(steps: list[tuple[str, Any]], ageing: float) -> None:
    both = Both(ageing)
    for step, what in steps:
        both.step(step, what)
        both.compare()
    both.drain()


def long_run(noise: random.Random, count: int) -> Iterator[tuple[str, Any]]:
    """Steps that keep some dozens waiting for long: what small examples hardly reach."""
    for _ in range(count):
        step = noise.choices(
            ["add", "take", "take closed", "put back", "leave", "move", "wait"], [40, 18, 8, 8, 8, 6, 12]
        )[0]
        if step == "add":
            yield (
                step,
                {
                    "flow": noise.choice("abcd"),
                    "group": noise.choice("xxxxyz"),
                    "weight": noise.choice([0.5, 1.0, 4.0]),
                    "cost": noise.choice([0.0, 1.0, 2.0, 2.5, 16.0]),
                    "priority": noise.choice([0, 5, 5, 9]),
                    "since": noise.choice([0.0, 0.0, 0.0, 3.0, 30.0]),
                },
            )
        elif step.startswith("take"):
            yield "take", set(noise.sample("xyz", noise.randint(1, 2))) if step == "take closed" else ()
        elif step == "move":
            yield step, (noise.randrange(100), noise.choice([0, 5, 9]))
        else:
            yield step, noise.choice([0.1, 0.5, 3.0]) if step == "wait" else noise.randrange(100)


@pytest.mark.parametrize("seed", range(40))
def test_decides_as_the_plain_rules_do_in_a_long_run(seed: int) -> None:
    noise = random.Random(seed)
    for ageing in AGEING:
        both = Both(ageing)
        for _ in range(3):
            for step, what in long_run(noise, noise.randint(20, 120)):
                both.step(step, what)
                both.compare()
            both.drain()


def test_the_expected_place_is_the_last_where_all_are_of_one_flow() -> None:
    order = Order()
    tickets = [ticket("a") for _ in range(10)]
    fill(order, *tickets)
    assert order.expected(tickets[-1]) == 10
    assert order.ahead_in_flow(tickets[-1]) == 9


def test_the_expected_place_of_a_newcomer_is_its_share_and_not_the_end_of_the_queue() -> None:
    order = Order()
    fill(order, *(ticket("flood") for _ in range(1000)))
    newcomer = ticket("single")
    fill(order, newcomer)
    assert order.expected(newcomer) == 2


def test_the_expected_place_goes_by_the_share_that_a_flow_had_lately() -> None:
    order, expected = Order(), dict[Ticket, int]()
    wrong: list[int] = []
    for flow in ("light1", "light2", "light3", *["heavy"] * 12):
        fill(order, ticket(flow))
    for number in range(1, 600):  # whoever is served comes again: three with one call each, one with a dozen
        served = turn(order)
        if served in expected:
            wrong.append(abs(expected.pop(served) - number))
        again = ticket(served.flow)
        fill(order, again)
        expected[again] = number + order.expected(again)
    assert median(wrong[200:]) <= 2


def test_calls_that_wait_use_on_the_average_what_is_expected_of_them_without_margins() -> None:
    order = Order()
    for tokens in (100.0, 300.0):
        one = ticket("a")
        one.ask = Ask(input_tokens=2 * tokens, output_tokens=tokens, expected_input=tokens, expected_output=tokens / 10)
        fill(order, one)
    typical = order.tally.typical(Ask(group="g", input_tokens=7.0, max_tokens=50))
    assert (typical.group, typical.input_tokens, typical.output_tokens, typical.max_tokens) == ("g", 200.0, 20.0, 20.0)
    assert Order().tally.typical(Ask(input_tokens=7.0)) == Ask(input_tokens=7.0)
