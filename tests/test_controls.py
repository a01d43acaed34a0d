"""Control headers: what a client may ask, and clear words when it asks wrongly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from llmqd.controls import Controls, parse_priority, parse_tags, patience, read_controls, stated_timer
from llmqd.errors import BadHeader


def read(**headers: str) -> Controls:
    return read_controls(CIMultiDict({f"X-LLMQD-{name.replace('_', '-')}": value for name, value in headers.items()}))


def test_nothing_asked() -> None:
    assert read() == Controls()


@pytest.mark.parametrize(
    ("value", "priority"), [("high", 1), ("Normal", 5), (" low ", 7), ("batch", 9), ("0", 0), ("9", 9)]
)
def test_priorities(value: str, priority: int) -> None:
    assert parse_priority(value) == priority
    assert read(Priority=value).priority == priority


def test_everything_asked() -> None:
    assert read(
        Priority="0",
        Deadline="2.5",
        No_Queue="1",
        Agent=" bot ",
        User="u",
        Conversation="c",
        Tags="a:1,b",
        Store="usage",
    ) == Controls(0, 2.5, True, "bot", "u", "c", ("a:1", "b"), "usage")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Priority", "urgent"),
        ("Priority", "10"),
        ("Priority", "-1"),
        ("Priority", "٣"),
        ("Deadline", "soon"),
        ("Deadline", "-1"),
        ("Deadline", "nan"),
        ("Deadline", "inf"),
        ("Deadline", "1_000"),
        ("Deadline", "٣"),
        ("No_Queue", "maybe"),
        ("Store", "everything"),
        ("Agent", "x" * 257),
    ],
)
def test_a_bad_value_names_its_header(name: str, value: str) -> None:
    with pytest.raises(BadHeader, match="X-LLMQD-" + name.replace("_", "-")):
        read(**{name: value})


@pytest.mark.parametrize(
    ("value", "tags"),
    [
        ("", ()),
        ("time:12:30:45", ("time:12:30:45",)),
        ("a, b ,,c:", ("a", "b", "c:")),
        (",".join(f"t{n}" for n in range(60)), tuple(f"t{n}" for n in range(50))),
        ("k" * 70 + ":v,ok", ("ok",)),
        ("k:" + "v" * 600, ("k:" + "v" * 512,)),
    ],
)
def test_tags(value: str, tags: tuple[str, ...]) -> None:
    assert parse_tags(value) == tags


def test_tags_in_several_headers_are_one_list() -> None:
    headers = CIMultiDict([("X-LLMQD-Tags", "a,b"), ("x-other", "x"), ("x-llmqd-tags", "c")])
    assert read_controls(headers).tags == ("a", "b", "c")


def patient(beats_after: float | None = None, /, **headers: str) -> float | None:
    timer = stated_timer(CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()}))
    return patience(timer, beats_after=beats_after)


@pytest.mark.parametrize("name", ["x_stainless_read_timeout", "X_Stainless_Timeout", "X_Server_Timeout"])
def test_a_client_s_own_timer_bounds_its_wait_less_a_margin(name: str) -> None:
    assert patient(**{name: "600"}) == 598
    assert patient(**{name: " 600.0 "}) == 598
    assert patient(**{name: "5"}) == 4.5


def test_the_shortest_of_several_timers_counts() -> None:
    assert patient(x_stainless_read_timeout="60", x_stainless_timeout="600") == 58
    assert patient(x_stainless_read_timeout="NOT_GIVEN", x_stainless_timeout="30") == 28


@pytest.mark.parametrize(
    "value", ["NOT_GIVEN", "None", "", "0", "0.0", "-5", "nan", "inf", "1e3", "1_000", "\u0665", "9" * 400, "10s"]
)
def test_timers_that_say_no_number_of_seconds_are_ignored(value: str) -> None:
    assert patient(x_stainless_timeout=value) is None


def test_who_names_no_timer_may_wait_for_ever() -> None:
    assert patient() is None


def test_bytes_in_time_start_a_client_s_timer_anew() -> None:
    assert patient(45.0, x_stainless_read_timeout="600") is None
    assert patient(700.0, x_stainless_read_timeout="600") == 598, "they would come too late"


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "X-LLMQD-Priority",
                "X-LLMQD-Deadline",
                "X-LLMQD-No-Queue",
                "X-LLMQD-Tags",
                "X-LLMQD-Store",
                "X-LLMQD-Session",
                "X-LLMQD-Agent",
                "x-stainless-timeout",
                "X-Server-Timeout",
            ]
        ),
        st.text(max_size=40) | st.sampled_from(["1e999", "-1", "nan", "inf", "0", "٣", "1" * 400]),
    )
)
def test_any_header_is_understood_or_refused_by_name(headers: dict[str, str]) -> None:
    try:
        found = read_controls(CIMultiDict(headers))
    except BadHeader:
        return
    assert found.priority is None or 0 <= found.priority <= 9
    waits = patience(stated_timer(CIMultiDict(headers)))
    assert waits is None or waits >= 0
