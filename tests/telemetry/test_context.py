from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.telemetry.context import TraceContext, trace_of

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


def ones(size: int) -> int:
    return (1 << size) - 1


def test_a_clients_trace_is_continued_with_a_span_of_its_own() -> None:
    found = trace_of(PARENT, "vendor=1", 0.0, ones)
    assert found == TraceContext(TRACE, "f" * 16, SPAN, "vendor=1")
    assert found.parent == f"00-{TRACE}-ffffffffffffffff-01"


def test_a_client_that_does_not_sample_is_not_traced_whatever_the_share() -> None:
    assert trace_of(f"00-{TRACE}-{SPAN}-00", "", 1.0, ones) is None
    assert trace_of(f"00-{TRACE}-{SPAN}-03", "", 0.0, ones) is not None


@pytest.mark.parametrize(
    "parent",
    [
        None,
        "",
        "nonsense",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}",
    ],
)
def test_a_header_that_cannot_be_read_counts_as_none(parent: str | None) -> None:
    found = trace_of(parent, "vendor=1", 1.0, ones)
    assert found is not None
    assert (found.parent_id, found.state) == (None, "")
    assert trace_of(parent, "", 0.0, ones) is None


def test_a_later_version_may_say_more() -> None:
    found = trace_of(f"01-{TRACE}-{SPAN}-01-more", "", 0.0, ones)
    assert found is not None
    assert found.parent_id == SPAN


def test_a_state_that_is_too_long_is_left_out() -> None:
    found = trace_of(PARENT, "a=" + "b" * 512, 1.0, ones)
    assert found is not None
    assert found.state == ""


@pytest.mark.parametrize(("share", "drawn", "traced"), [(0.25, 0.24, True), (0.25, 0.26, False), (1.0, 0.999, True)])
def test_a_share_of_the_calls_without_a_trace_is_traced(share: float, drawn: float, *, traced: bool) -> None:
    assert (trace_of(None, "", share, lambda size: int(drawn * 2**size)) is not None) is traced


def test_no_id_is_zero() -> None:
    found = trace_of(None, "", 1.0, lambda _: 0)
    assert found is not None
    assert (found.trace_id, found.span_id) == ("1".zfill(32), "1".zfill(16))


@given(st.text(), st.text())
def test_any_header_is_read_or_counts_as_none(parent: str, state: str) -> None:
    assert trace_of(parent, state, 1.0, ones) is not None
