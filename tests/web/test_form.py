"""Fields of a multipart form are found where they stand."""

from __future__ import annotations

from llmqd.web.form import boundary_of, field_values

FORM = (
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="model"\r\n\r\nx--b\r\nary\r\n'
    b'--b\r\nContent-Disposition: form-data; name="model"\r\nContent-Type: text/plain\r\n\r\nwhisper-1\r\n'
    b'--b\r\nContent-Disposition: form-data; name="models"\r\n\r\nx\r\n'
    b"--b\r\nContent-Disposition: form-data; name=model\r\n\r\n\r\n--b--\r\n"
)


def test_plain_fields_of_the_very_name_are_found() -> None:
    assert [FORM[start:end] for start, end in field_values(FORM, b"b", b"model")] == [b"whisper-1", b""]
    assert list(field_values(FORM, b"b", b"file")) == [], "a file is no field"
    assert list(field_values(FORM, b"other", b"model")) == []


def test_a_form_that_is_cut_ends_the_search() -> None:
    for end in range(len(FORM)):
        for start, stop in field_values(FORM[:end], b"b", b"model"):
            assert FORM[start:stop] in (b"whisper-1", b"")


def test_the_boundary_is_read_as_it_is_quoted() -> None:
    assert boundary_of('multipart/form-data; charset=utf-8; boundary="a b"') == b"a b"
    assert boundary_of("multipart/form-data; boundary=----WebKit7") == b"----WebKit7"
    assert boundary_of("multipart/form-data") == b""
