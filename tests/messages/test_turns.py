"""Who speaks, and what is said at once."""

from __future__ import annotations

import pytest

from llmqd.messages.turns import Turns, role_of

NAMES = [("developer", "system"), ("model", "assistant"), ("CHATBOT", "assistant"), ("function", "tool")]


@pytest.mark.parametrize(("name", "role"), [*NAMES, ("critic", "user"), (None, "user"), (["odd"], "user")])
def test_every_name_has_a_role(name: object, role: str) -> None:
    assert role_of(name) == role


def test_only_the_assistants_words_go_together() -> None:
    turns = Turns()
    raws = [{"n": number} for number in range(5)]
    for role, raw in zip(("user", "user", "assistant", "assistant", "assistant"), raws, strict=True):
        turns.add(role, raw)  # type: ignore[arg-type]
    assert turns.roles == ["user", "user", "assistant"]
    assert turns.turns == [raws[0], raws[1], raws[2:]]
