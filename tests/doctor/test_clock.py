"""The clock, as the doctor sees it."""

from __future__ import annotations

from llmqd.doctor.clock import look_at_clock, synchronised


def test_a_clock_that_is_right() -> None:
    [found] = look_at_clock(1000.0, kept=True, newest=999.0, others={"openai": -2.0})
    assert found.level == "ok"


def test_what_says_that_it_is_wrong() -> None:
    found = list(look_at_clock(1000.0, kept=False, newest=4600.0, others={"openai": 3600.0, "groq": -30.0, "a": 1.0}))
    assert [(each.level, each.text.split(":")[0]) for each in found] == [
        ("fault", "the ledger holds a call from 3600 s in the future"),
        ("fault", "the clock of upstream openai is 3600 s ahead of this one"),
        ("warning", "the clock of upstream groq is 30 s behind this one"),
        ("warning", "nothing keeps the clock of this machine right"),
    ]


def test_the_kernel_can_be_asked() -> None:
    assert synchronised() in (True, False, None)
