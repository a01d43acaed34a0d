"""Who is who: users of a unix socket by their id, in the lists of the settings."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llmqd.auth.callers import Callers, Presented
from llmqd.auth.key_file import KeyFile
from llmqd.auth.keyring import Keyring
from llmqd.config.model import Auth
from llmqd.config.secret import Secret
from llmqd.errors import InvalidKey
from tests.clock import ManualClock

ADMIN, CLIENT, OTHER = 61001, 61002, 61003


@pytest.fixture
def callers(tmp_path: Path) -> Callers:
    clock = ManualClock(100.0)
    settings = Auth(mode="keys", unix_admins=(ADMIN,), unix_clients=(CLIENT,))
    return Callers(settings, Keyring(KeyFile(tmp_path), wall=clock), clock=clock, wall=clock)


def by(uid: int) -> Presented:
    return Presented(address="unix", uid=uid)


def test_users_who_may_call_need_no_key_and_count_under_their_id(callers: Callers) -> None:
    caller = callers.of_call(by(CLIENT))
    assert (caller.role, caller.name, caller.key) == ("client", f"uid-{CLIENT}", None)
    assert callers.of_call(by(os.geteuid())).name == f"uid-{os.geteuid()}"
    for uid in (ADMIN, OTHER):
        with pytest.raises(InvalidKey, match="a key is needed here"):
            callers.of_call(by(uid))


def test_users_who_may_ask_need_no_token_and_those_who_may_call_may_not_ask(callers: Callers) -> None:
    assert callers.of_question(by(ADMIN)).role == "admin"
    assert callers.of_question(by(os.geteuid())).role == "admin"
    for uid in (CLIENT, OTHER):
        with pytest.raises(InvalidKey, match="a key is needed here"):
            callers.of_question(by(uid))


def test_ids_mean_nothing_over_tcp(callers: Callers) -> None:
    with pytest.raises(InvalidKey):
        callers.of_question(Presented(address="127.0.0.1"))
    with pytest.raises(InvalidKey):
        callers.of_call(Presented(address="127.0.0.1"))


def test_root_is_in_the_list_unless_it_is_taken_out() -> None:
    assert Auth().unix_admins == (0,)
    assert Auth().unix_clients == ()


def test_where_anybody_may_call_another_admin_token_takes_the_place_of_the_last_at_once(callers: Callers) -> None:
    for token, other in (("first-admin-token", "second-admin-token"), ("second-admin-token", "first-admin-token")):
        callers.replace(Auth(mode="open", admin_token=Secret(token)))
        for _ in range(2):
            assert callers.of_call(Presented((token,))).strips, "it is for llmqd alone"
            assert not callers.of_call(Presented((other,))).strips
    callers.replace(Auth(mode="keys"))
    with pytest.raises(InvalidKey):
        callers.of_call(Presented(("first-admin-token",)))
