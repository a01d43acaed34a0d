"""A repetition is the same call; any other request is another."""

from __future__ import annotations

from tempfile import TemporaryFile

from llmqd.web.body import Body
from llmqd.web.fingerprint import fingerprint


def of(data: bytes, method: str = "POST", path: str = "/v1/chat/completions") -> str:
    return fingerprint(method, path, Body(data, None, len(data)))


def test_the_same_request_is_the_same_call() -> None:
    assert of(b"{}") == of(b"{}")
    assert len(of(b"")) == 32


def test_method_path_query_and_body_tell_calls_apart() -> None:
    calls = [of(b"{}"), of(b"[]"), of(b""), of(b"{}", "PUT"), of(b"{}", path="/v1/x"), of(b"{}", path="/v1/x?a=1")]
    calls += [of(b"{}", path="/v1/\udcff")]
    assert len(set(calls)) == len(calls)


def test_of_a_long_body_both_ends_and_the_length_count() -> None:
    long = b"a" * 500_000
    calls = [of(long), of(long + b"a"), of(b"b" + long[1:]), of(long[:-1] + b"b")]
    assert len(set(calls)) == len(calls)


def test_it_does_not_matter_where_a_body_waits() -> None:
    for data in (b"x" * 10, b"abc" * 100_000):
        with TemporaryFile() as spool:
            spool.write(data)
            assert fingerprint("POST", "/v1/chat/completions", Body(None, spool, len(data))) == of(data)


def test_a_form_that_is_sent_again_with_another_boundary_is_the_same_call() -> None:
    def form(boundary: str, model: str) -> str:
        head = 'Content-Disposition: form-data; name="model"'
        data = f"--{boundary}\r\n{head}\r\n\r\n{model}\r\n--{boundary}--\r\n".encode()
        kind = f"multipart/form-data; boundary={boundary}"
        return fingerprint("POST", "/v1/audio/transcriptions", Body(data, None, len(data)), kind)

    assert form("aaaa", "whisper-1") == form("bbbb", "whisper-1")
    assert form("aaaa", "whisper-1") != form("aaaa", "whisper-2")
