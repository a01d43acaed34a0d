"""A query and a message come to the same words, in any script."""

from __future__ import annotations

import unicodedata

import msgspec
import pytest

from llmqd.messages.message import Message, Reasoning, Text, ToolCall, ToolResult
from llmqd.store.words import document, indexed, query, spoken_words

encode = msgspec.json.encode


@pytest.mark.parametrize(
    ("text", "match", "exact"),
    [
        ("Refund  POLICY", '"refund" "policy"', True),
        ("refund*", '"refund"*', True),
        ("STRASSE", '"strasse"', True),
        ("café", '"cafe"', False),
        ("don't", '"don" "t"', False),
        ("/etc/hosts*", '"etc" "hosts"*', False),
        ("中文", '"中" "文"', False),
        ("???", None, False),
        ("", None, True),
        ('"; DROP', '"drop"', False),
    ],
)
def test_a_query_tells_the_index_what_it_can_find(text: str, match: str | None, exact: bool) -> None:
    found = query(text)
    assert (found.match, found.exact) == (match, exact)


def test_beginnings_of_words_are_spelled_out() -> None:
    wanted = query("blue kilo* exact*")
    assert wanted.beginnings == ["kilo", "exact"]
    found = wanted.spelled_out({"kilo": ["kilo", "kilometre"]})
    assert found.match == '"blue" AND ("kilo" OR "kilometre") AND "exact"*'
    assert query("!").beginnings == []


def test_tools_are_words_too_and_thoughts_are_not() -> None:
    call, result = ToolCall("lookup", '{"street":"Straße"}'), ToolResult("not found")
    message = Message("assistant", (Reasoning("secret"), Text("I look"), call, result))
    assert spoken_words(encode(message)) == 'I look\nlookup\n{"street":"Straße"}\nnot found'
    assert document(encode(message)) == 'i look\nlookup\n{"street":"strasse"}\nnot found'
    assert document(encode(Message("system", (Text("Be kind"),)))) is None
    assert document(encode(Message("user", (Reasoning("hm"),)))) is None


@pytest.mark.parametrize(
    ("said", "wanted", "there"),
    [
        ("你好世界", "世界", True),
        ("你好世界", "界世", False),
        ("Un café “noir”", "café noir", True),
        ("foo_bar.py", "foo_bar", True),
        ("foo bar", "foo_bar", False),
        (unicodedata.normalize("NFD", "une école"), "école", True),
        ("I don\u2019t say \u201cno\u201d", 'don\'t "no"', True),
        ("I don't", "don\u2019t", True),
        ("une école", unicodedata.normalize("NFD", "école"), True),
    ],
)
def test_what_the_index_cannot_tell_is_read(said: str, wanted: str, there: bool) -> None:
    assert query(wanted).said_in(encode(Message("user", (Text(said),)))) is there


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Ein Café—“schön” – groß", ["ein", "cafe", "schon", "gross"]),
        ("ﬁle № ½", ["file", "No", "1", "2"]),
        ("ΣΊΣΥΦΟΣ", ["σισυφοσ"]),
        ("東京 tower", ["東", "京", "tower"]),
        ("हिन्दी", ["ह", "नद"]),
        ("한국어", ["한국어"]),
        ("a\u0301b", ["ab"]),
    ],
)
def test_words_beyond_ascii(text: str, words: list[str]) -> None:
    assert [unicodedata.normalize("NFC", word) for word in indexed(text).split()] == [
        unicodedata.normalize("NFC", word) for word in " ".join(words).split()
    ]
