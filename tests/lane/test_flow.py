"""Whose share a call uses."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from llmqd.call import SessionRef
from llmqd.lane.flow import flow_of
from tests.calls import a_call

FULL = a_call(user="ada", agent="coder", session=SessionRef("s1", "header"), client="192.0.2.7")


@pytest.mark.parametrize(
    ("fair_by", "flow"),
    [("key", "key:team"), ("session", "session:s1"), ("user", "user:ada"), ("agent", "agent:coder"), ("none", "")],
)
def test_what_is_asked_for_decides(fair_by: str, flow: str) -> None:
    assert flow_of(replace(FULL, key="team"), fair_by) == flow


def test_what_is_missing_is_made_good_by_the_next_best() -> None:
    assert flow_of(FULL, "key") == "user:ada"
    assert flow_of(a_call(agent="coder", session=SessionRef("s1", "path")), "user") == "agent:coder"
    assert flow_of(a_call(session=SessionRef("s1", "path"), client="192.0.2.7"), "key") == "session:s1"
    assert flow_of(a_call(client="192.0.2.7"), "session") == "address:192.0.2.7"
    assert flow_of(a_call(), "agent") == ""


def test_a_session_made_up_for_the_call_is_nobody_in_particular() -> None:
    assert flow_of(a_call(session=SessionRef("fresh", "new"), client="192.0.2.7"), "session") == "address:192.0.2.7"


def test_a_user_and_an_agent_of_one_name_are_two_flows() -> None:
    assert flow_of(a_call(user="x"), "key") != flow_of(a_call(agent="x"), "key")
