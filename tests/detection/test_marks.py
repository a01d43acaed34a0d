"""Which texts and ids are evidence."""

from __future__ import annotations

import pytest

from llmqd.detection.chain import Kind, kind_of
from llmqd.detection.marks import argument_marks, call_marks, is_telling, line_marks, long_lines
from llmqd.messages.digest import Digests
from llmqd.messages.message import ToolCall
from tests.detection.talking import SECRET, said

DIGESTS = Digests(SECRET, 100)


@pytest.mark.parametrize(
    ("call_id", "telling"),
    [
        ("call_kn5bfF939ah78y4sGx33m86q", True),
        ("toolu_01A09q90qw90lq917835lq9", True),
        ("call_itDuaEgrfEtjxkiDkuddwvqi", True),
        ("550e8400-e29b-41d4-a716-446655440000", True),
        ("call_1", False),
        ("functions.get_current_weather:0", False),
        ("call_00000001", False),
        ("", False),
    ],
)
def test_only_ids_that_look_random_are_evidence(call_id: str, telling: bool) -> None:
    assert is_telling(call_id) is telling
    assert bool(call_marks(1, said(ToolCall("f", "{}", call_id)), DIGESTS)) is telling


def test_the_longest_lines_without_their_white_space() -> None:
    text = f"short\n  {'a b ' * 30}\n{'c ' * 50}\n{'d' * 45}"
    assert long_lines(text) == ["ab" * 30, "c" * 50]
    assert line_marks(1, said("short"), DIGESTS, set().__contains__) == []


def test_lines_that_others_have_said_too_are_kept_last() -> None:
    common, own = f"{'a' * 60}\n{'b' * 50}", f"{'c' * 40}"
    known = line_marks(1, said(common), DIGESTS, set().__contains__)
    [mine] = line_marks(1, said(own), DIGESTS, set().__contains__)
    assert line_marks(1, said(f"{common}\n{own}"), DIGESTS, known.__contains__) == [mine, known[0]]


@pytest.mark.parametrize(
    ("arguments", "kinds"),
    [
        ('{"path": "src/main/application.py"}', []),
        ('{"q": "the weather in Paris"}', [Kind.TASK]),
        ('{"deep": [{"q": "' + "many words " * 10 + '"}]}', [Kind.ARGUMENT, Kind.TASK]),
        ("not json but several words in a row", [Kind.TASK]),
        ('{"n": 17, "flag": true}', []),
    ],
)
def test_arguments_that_may_be_a_task(arguments: str, kinds: list[Kind]) -> None:
    marks = argument_marks(1, said(ToolCall("f", arguments)), [], DIGESTS)
    assert [kind_of(mark) for mark in marks] == kinds


def test_an_answer_leaves_few_marks_however_much_it_calls() -> None:
    calls = [
        ToolCall("f", f'{{"q": "{number} {"many words " * 10}"}}', f"call_a1b2c3d4e5f{number}") for number in range(99)
    ]
    assert len(call_marks(1, said(*calls), DIGESTS)) == 8
    assert len(argument_marks(1, said(*calls), [], DIGESTS)) == 8
