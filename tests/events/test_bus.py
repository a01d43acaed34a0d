"""The ring of events: nobody makes it grow, nobody misses anything unknowingly."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import orjson
from hypothesis import given
from hypothesis import strategies as st

from llmqd.events import Alert, Event, EventBus, Gap, Published, Subscription, Wanted
from tests.clock import ManualClock


def alert(number: int, lane: str | None = None) -> Alert:
    return Alert(name=str(number), message="", lane=lane)


def idle() -> None:
    """A listener that asks by itself."""


def names(taken: list[Published | Gap]) -> list[str]:
    return ["gap" if isinstance(one, Gap) else name(one.event) for one in taken]


def name(event: Event) -> str:
    assert isinstance(event, Alert)
    return event.name


def filled(count: int, keep: int = 4) -> tuple[EventBus, list[int]]:
    bus = EventBus(wall=ManualClock(), keep=keep)
    return bus, [bus.publish(alert(number)) for number in range(count)]


def drain(listener: Subscription) -> list[str]:
    taken = []
    while some := listener.take():
        taken += names(some)
    return taken


def test_a_listener_hears_what_happens_after_it_came() -> None:
    bus, _ = filled(2)
    listener = bus.subscribe(idle)
    assert listener.take() == []
    bus.publish(alert(2))
    assert names(listener.take()) == ["2"]
    assert listener.take() == []


def test_an_event_is_json_with_type_id_and_time() -> None:
    clock = ManualClock(1_800_000_000.25)
    bus = EventBus(wall=clock)
    listener = bus.subscribe(idle)
    event_id = bus.publish(alert(7, lane="openai"))
    [told] = listener.take()
    assert orjson.loads(told.data) == {
        "type": "alert", "id": event_id, "at": "2027-01-15T08:00:00.250Z", "lane": "openai", "upstream": None,
        "session": None, "name": "7", "message": "",
    }  # fmt: skip
    assert told.data is told.data


def test_ids_increase_while_the_clock_stands_still_or_goes_back_and_over_a_restart() -> None:
    clock = ManualClock()
    bus = EventBus(wall=clock)
    ids = [bus.publish(alert(0)), bus.publish(alert(1))]
    clock.now -= 100
    ids.append(bus.publish(alert(2)))
    clock.now += 200
    ids.append(bus.publish(alert(3)))
    clock.advance(0.001)
    ids.append(EventBus(wall=clock).publish(alert(4)))
    assert all(one < other for one, other in pairwise(ids))


def test_a_listener_resumes_behind_the_event_that_it_had_last() -> None:
    bus, ids = filled(4)
    for number, event_id in enumerate(ids):
        assert drain(bus.subscribe(idle, after=event_id)) == ["0", "1", "2", "3"][number + 1 :]


def test_a_listener_that_comes_back_to_a_full_ring_without_loss_is_told_of_no_gap() -> None:
    bus, ids = filled(9, keep=4)
    assert drain(bus.subscribe(idle, after=ids[4])) == ["5", "6", "7", "8"]


def test_a_listener_whose_events_have_left_the_ring_is_told_of_the_gap_and_gets_the_rest() -> None:
    bus, ids = filled(9, keep=4)
    listener = bus.subscribe(idle, after=ids[3])
    gap, *rest = listener.take()
    assert gap == Gap(after=ids[3], next=ids[5])
    assert orjson.loads(gap.data) == {"type": "gap", "after": ids[3], "next": ids[5]}
    assert names(rest) == ["5", "6", "7", "8"]


def test_a_listener_of_the_daemon_before_this_one_is_told_of_a_gap() -> None:
    clock = ManualClock()
    before = EventBus(wall=clock).publish(alert(0))
    clock.advance(5)
    bus = EventBus(wall=clock)
    listener = bus.subscribe(idle, after=before)
    assert names(listener.take()) == ["gap"]
    bus.publish(alert(1))
    assert names(listener.take()) == ["1"]


def test_a_listener_from_the_future_is_told_of_a_gap_and_gets_everything() -> None:
    bus, ids = filled(3)
    assert drain(bus.subscribe(idle, after=ids[-1] + 10**9)) == ["gap", "0", "1", "2"]


def test_the_slowest_is_overtaken_and_told_while_the_others_miss_nothing() -> None:
    bus, ids = filled(1)
    slow, quick = bus.subscribe(idle, after=ids[0]), bus.subscribe(idle, after=ids[0])
    heard = []
    for number in range(1, 11):
        bus.publish(alert(number))
        heard += drain(quick)
    assert heard == [str(number) for number in range(1, 11)]
    assert drain(slow) == ["gap", "7", "8", "9", "10"]
    assert drain(slow) == []


def test_what_a_listener_does_not_want_neither_wakes_it_nor_makes_it_look_slow() -> None:
    bus, _ = filled(0)
    woken: list[int] = []
    listener = bus.subscribe(lambda: woken.append(1), Wanted(lanes=frozenset({"a"})))
    last = [bus.publish(alert(number, "b")) for number in range(100)][-1]
    assert (woken, listener.take(), listener.position) == ([], [], last)
    bus.publish(alert(100, "a"))
    assert (woken, names(listener.take())) == ([1], ["100"])


def test_a_listener_takes_no_more_at_once_than_it_asks_for() -> None:
    bus, _ = filled(0, keep=10)
    listener = bus.subscribe(idle)
    for number in range(5):
        bus.publish(alert(number))
    assert [names(listener.take(2)) for _ in range(4)] == [["0", "1"], ["2", "3"], ["4"], []]


def test_a_listener_that_left_is_woken_no_more() -> None:
    bus, _ = filled(0)
    woken: list[int] = []
    listener = bus.subscribe(lambda: woken.append(1))
    assert (bus.listeners, repr(bus)) == (1, "<EventBus 0 published, 0 held, 1 listening>")
    bus.unsubscribe(listener)
    bus.publish(alert(0))
    assert (woken, bus.listeners) == ([], 0)


def test_closing_wakes_everybody() -> None:
    bus, _ = filled(0)
    woken: list[int] = []
    bus.subscribe(lambda: woken.append(1), Wanted(types=frozenset({"paused"})))
    bus.close()
    assert (woken, bus.closed) == ([1], True)


def test_memory_does_not_grow_with_events_or_with_listeners_that_never_take() -> None:
    bus, _ = filled(300, keep=100)
    listeners = [bus.subscribe(idle) for _ in range(10)]
    tracemalloc.start()
    try:
        for number in range(200):
            bus.publish(alert(number))
        before = tracemalloc.get_traced_memory()[0]
        for number in range(20_000):
            bus.publish(alert(number))
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 20_000
    assert len(listeners) == bus.listeners


@given(st.lists(st.one_of(st.just("publish"), st.just("other"), st.integers(1, 4)), max_size=60), st.integers(1, 6))
def test_what_was_taken_is_always_in_order_and_every_loss_is_told(steps: list[str | int], keep: int) -> None:
    bus = EventBus(wall=ManualClock(), keep=keep)
    listener = bus.subscribe(idle, Wanted(lanes=frozenset({"a"})))
    due: list[int] = []
    got: list[int] = []
    for step in [*steps, 100]:
        if step == "publish":
            due.append(bus.publish(alert(0, "a")))
        elif step == "other":
            bus.publish(alert(0, "b"))
        else:
            assert isinstance(step, int)
            for one in listener.take(step):
                if isinstance(one, Gap):
                    lost = [event_id for event_id in due if event_id not in got and event_id < one.next]
                    assert all(one.after < event_id for event_id in lost)
                    due = [event_id for event_id in due if event_id not in lost]
                else:
                    got.append(one.id)
    while more := listener.take():
        got += [one.id for one in more if isinstance(one, Published)]
    assert got == due
    assert listener.position == max([*due, listener.position])
