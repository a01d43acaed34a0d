"""Control headers: what a client may ask, and clear words when it asks wrongly."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from llmqd.controls import Controls, parse_priority, parse_tags, read_controls
from llmqd.errors import BadHeader


def read(**headers: str) -> Controls:
    return read_controls(
        CIMultiDict({f"X-LLMQD-{name.replace('_', '-')}": value for name, value in headers.items()}),
        default_priority=5,
    )


def test_nothing_asked() -> None:
    assert read() == Controls(priority=5)


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
