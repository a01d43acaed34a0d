from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict

from llmqd.call import Outcome, SessionRef
from llmqd.messages.digest import Digests
from llmqd.store.names_redaction import NamesRedaction
from llmqd.store.redaction import Redaction
from tests.calls import a_call

KEY = "sk-proj-plantedprovidersecret0123456789abcdefghij"
OWN = "planted-own-key-0123456789"


def names(*patterns: str) -> NamesRedaction:
    return NamesRedaction(Redaction(patterns, own=[OWN]), Digests(b"0123456789abcdef", 100))


@pytest.mark.parametrize(
    "fields",
    [
        {"user": KEY},
        {"agent": f"agent {KEY}"},
        {"conversation": f"about {OWN}"},
        {"tags": ("plain", f"team:{KEY}")},
        {"session": SessionRef(KEY, "header")},
        {"model": KEY},
        {"path": f"/v1/files/{KEY}/content"},
        {"path": f"/v1/files/{KEY.replace('-', '%2D')}/content"},
        {"method": KEY},
        {"client": OWN},
    ],
)
def test_a_secret_in_any_field_of_a_call_is_taken_out(fields: dict[str, Any]) -> None:
    call = a_call(**fields)
    names().asked(call)
    written = repr(asdict(call))
    assert "plantedprovidersecret" not in written
    assert OWN not in written
    assert "[redacted:" in written


def test_a_secret_in_the_words_of_an_upstream_is_taken_out() -> None:
    outcome = Outcome(error=f"bad {KEY}", response_model=KEY, finish_reason=OWN, provider_id=KEY)
    names().answered(outcome)
    written = repr(asdict(outcome))
    assert KEY not in written
    assert OWN not in written


def test_a_call_without_secrets_stays_as_it_is() -> None:
    fields = {"user": "ada", "agent": "coder", "session": SessionRef("s1", "path"), "tags": ("a", "b:c")}
    call = a_call(path="/v1/a%20b", **fields)
    before = asdict(call)
    names("TICKET-[0-9]+").asked(call)
    assert asdict(call) == before


def test_what_held_different_secrets_stays_apart_and_what_held_the_same_stays_one() -> None:
    cleaning, users = names(r"[a-z]+@example\.com"), []
    for user in ("ada@example.com", "bob@example.com", "ada@example.com"):
        call = a_call(user=user)
        cleaning.asked(call)
        users.append(call.user)
    assert users[0] == users[2] != users[1]
    assert all(user is not None and user.startswith("[redacted:1]-") for user in users)


def test_another_installation_gives_other_names() -> None:
    found = set()
    for secret in (b"0123456789abcdef", b"fedcba9876543210"):
        call = a_call(user=KEY)
        NamesRedaction(Redaction(), Digests(secret, 100)).asked(call)
        found.add(call.user)
    assert len(found) == 2


def test_a_reload_counts_for_names_that_were_known_before() -> None:
    cleaning = names()
    cleaning.asked(a_call(user="TICKET-1"))
    cleaning.replace(Redaction(["TICKET-[0-9]+"]))
    call = a_call(user="TICKET-1")
    cleaning.asked(call)
    assert call.user is not None
    assert "TICKET-1" not in call.user


@given(st.lists(st.text(max_size=400), max_size=30))
def test_any_text_can_be_a_name_and_what_is_remembered_is_bounded(texts: list[str]) -> None:
    cleaning = names()
    for text in texts * 2:
        call = a_call(user=text, path=text, model=text)
        cleaning.asked(call)
    assert len(repr(cleaning)) < 100


def test_so_many_names_are_remembered_and_no_more() -> None:
    cleaning = names()
    for number in range(10_000):
        cleaning.asked(a_call(user=f"user {number}"))
    assert repr(cleaning) in [f"<NamesRedaction, {count} names known>" for count in range(4097)]
