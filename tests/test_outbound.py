"""What leaves for an upstream before a body."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from llmqd.outbound import Outbound


def test_one_request_goes_before_any_body() -> None:
    request = Outbound("POST", "https://u.test/v1/x%20y?a=1", CIMultiDict([("X-A", "1"), ("x-a", "ü")]))
    before = "POST /v1/x%20y?a=1 HTTP/1.1\r\nHost: u.test\r\nX-A: 1\r\nx-a: ü\r\nContent-Length: ".encode()
    assert request.base == "https://u.test"
    for length in (5, 0, 123456):
        assert request.head("u.test", length) == before + b"%d\r\n\r\n" % length
    assert request.head("u.test", None) == before + b"0\r\n\r\n"


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE"])
def test_methods_that_have_no_body_mostly_say_a_length_only_with_one(method: str) -> None:
    request = Outbound(method, "http://u.test:8080", CIMultiDict())
    assert request.head("u.test:8080", None) == f"{method} / HTTP/1.1\r\nHost: u.test:8080\r\n\r\n".encode()
    assert request.head("u.test:8080", 2).endswith(b"\r\nContent-Length: 2\r\n\r\n")


def test_a_length_and_a_host_that_are_said_already_stay() -> None:
    request = Outbound("POST", "http://u.test?q=1#f", CIMultiDict({"host": "h", "content-length": "7"}))
    assert request.head("u.test", None) == b"POST /?q=1 HTTP/1.1\r\nhost: h\r\ncontent-length: 7\r\n\r\n"


@pytest.mark.parametrize(
    ("headers", "length", "line"),
    [
        ({}, None, b"Content-Length: 0"),
        ({}, 7, b"Content-Length: 7"),
        ({"content-length": "5"}, 7, b"content-length: 5"),
        ({"host": "other"}, 1, b"host: other"),
    ],
)
def test_a_head_says_its_length_and_host_once(headers: Mapping[str, str], length: int | None, line: bytes) -> None:
    head = Outbound("POST", "http://acme:81/x", CIMultiDict(headers)).head("acme:81", length)
    assert head.startswith(b"POST /x HTTP/1.1\r\n")
    assert line in head.split(b"\r\n")
    assert head.lower().count(b"\r\nhost:") == head.lower().count(b"\r\ncontent-length:") == 1


def test_a_get_without_a_body_says_nothing_of_a_length() -> None:
    assert Outbound("GET", "http://a/", CIMultiDict()).head("a", None) == b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@given(st.text(alphabet="a\r\n\0:", min_size=1))
def test_no_header_smuggles_a_line(value: str) -> None:
    try:
        head = Outbound("POST", "http://a/", CIMultiDict({"X": value})).head("a", None)
    except ValueError:
        assert set(value) & set("\r\n\0")
    else:
        assert head.count(b"\r\n") == 5


def test_a_line_break_in_a_header_is_refused_every_time() -> None:
    request = Outbound("POST", "http://u.test/x", CIMultiDict({"X-A": "1\r\nX-B: 2"}))
    for _ in range(2):
        with pytest.raises(ValueError, match="line break"):
            request.head("u.test", 1)
