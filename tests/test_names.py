from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmqd.names import NO_NAMES, Names, names_in

CLAUDE = "user_0123abcd_account_3f1f6e0a-1111-2222-3333-444455556666_session_0a0b0c0d-0000-0000-0000-000000000000"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"model": "m"}, NO_NAMES),
        ({"user": "ada"}, Names(user="ada")),
        ({"safety_identifier": "hash"}, Names(user="hash")),
        ({"user": "old", "metadata": {"user_id": "ada"}}, Names(user="ada")),
        ({"metadata": {"user_id": CLAUDE}}, Names(user="user_0123abcd")),
        ({"metadata": {"user_id": '{"device_id":"d","account_uuid":"","session_id":"s"}'}}, Names(user="d")),
        ({"metadata": {"user_id": "{broken"}}, NO_NAMES),
        ({"metadata": {"agent_name": " coder ", "conversation_name": "c"}}, Names(agent="coder", conversation="c")),
        (
            {"metadata": {"agent": "a", "tags": ["x", "team:b", 7, "p,q"]}},
            Names(agent="a", tags=("x", "team:b", "p q")),
        ),
        ({"metadata": {"tags": "x, y"}}, Names(tags=("x", "y"))),
        ({"tags": ["t"]}, Names(tags=("t",))),
        ({"labels": {"team": "b", "env": "dev"}}, Names(tags=("team:b", "env:dev"))),
        ({"user": 7, "metadata": ["x"], "labels": 1}, NO_NAMES),
        ({"user": "a\nb"}, NO_NAMES),
        ({"user": "u" * 257}, NO_NAMES),
    ],
)
def test_what_a_body_says_of_who_calls(body: dict[str, Any], expected: Names) -> None:
    assert names_in(body) == expected


JSON = st.none() | st.integers() | st.text(max_size=9) | st.lists(st.text(max_size=9) | st.none(), max_size=3)
FIELDS = st.sampled_from(["user", "metadata", "tags", "labels", "safety_identifier", "x"])
INNER = st.sampled_from(["user_id", "user", "agent", "agent_name", "tags", "conversation"])


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(FIELDS, JSON | st.dictionaries(INNER, JSON, max_size=4), max_size=4))
def test_no_body_is_too_odd(body: dict[str, Any]) -> None:
    names = names_in(body)
    for name in (names.agent, names.user, names.conversation):
        assert name is None or 0 < len(name) <= 256
    assert len(names.tags) <= 50
