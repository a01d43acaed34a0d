import copy
import pickle
from pathlib import Path

import pytest

from llmqd.config.secret import Secret, SecretError, SecretMissing, parse_source, read_source

PLANTED = "sk-planted-0123456789"


def read(text: str, environ: dict[str, str] | None = None) -> str:
    return read_source(parse_source(text), environ or {}).reveal()


def test_a_secret_never_shows_itself() -> None:
    secret = Secret(PLANTED)
    for shown in (
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret:>40}",
        "%s" % secret,  # noqa: UP031 - this way of showing is meant
        repr([secret]),
        repr((secret,)),
    ):
        assert PLANTED not in shown
        assert "sk-" not in shown
    assert secret.reveal() == PLANTED


def test_a_secret_cannot_be_written_out_by_accident() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(Secret(PLANTED))
    with pytest.raises(TypeError):
        copy.deepcopy(Secret(PLANTED))


def test_secrets_are_equal_by_their_text() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert len({Secret("a"), Secret("a")}) == 1


def test_the_source_of_a_plain_secret_does_not_show_it() -> None:
    assert PLANTED not in repr(parse_source(PLANTED))
    assert PLANTED not in str(parse_source(PLANTED))


def test_plain_text_is_the_secret_itself() -> None:
    assert read(PLANTED) == PLANTED


def test_env_names_a_variable() -> None:
    assert read("env:MY_KEY", {"MY_KEY": f" {PLANTED}\n"}) == PLANTED


def test_file_content_loses_its_line_end(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{PLANTED}\n")
    assert read(f"file:{tmp_path}/key") == PLANTED


def test_credential_is_a_file_in_the_credentials_directory(tmp_path: Path) -> None:
    (tmp_path / "openai").write_text(PLANTED)
    assert read("credential:openai", {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == PLANTED


@pytest.mark.parametrize("text", ["env:MY_KEY", "file:/nonexistent/key", "credential:openai"])
def test_what_is_not_there_is_missing_and_named(text: str) -> None:
    with pytest.raises(SecretMissing, match=text.split(":")[1]):
        read(text)


def test_an_empty_variable_counts_as_not_set() -> None:
    with pytest.raises(SecretMissing, match="MY_KEY"):
        read("env:MY_KEY", {"MY_KEY": ""})


def test_a_missing_credential_file_is_missing_not_a_fault(tmp_path: Path) -> None:
    with pytest.raises(SecretMissing, match="openai"):
        read("credential:openai", {"CREDENTIALS_DIRECTORY": str(tmp_path)})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"\n \n", "empty"),
        (b"two\nlines\n", "line break"),
        (b"k\xc3\xa9y", "character"),
        (b"\xff\xfe", "UTF-8"),
        (b"x" * 70000, "64 KiB"),
    ],
)
def test_a_file_that_holds_no_key_is_a_fault(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(SecretError, match=words) as caught:
        read(f"file:{tmp_path}/key")
    assert not isinstance(caught.value, SecretMissing)


def test_a_directory_in_place_of_a_key_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match="cannot read") as caught:
        read(f"file:{tmp_path}")
    assert not isinstance(caught.value, SecretMissing)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("env:", "names nothing"),
        ("file:", "names nothing"),
        ("file:relative/key", "whole path"),
        ("credential:../etc/passwd", "not a path"),
        ("credential:..", "not a path"),
        ("credentials:openai", 'did you mean "credential:"'),
        ("ENV:MY_KEY", 'did you mean "env:"'),
        ("", "empty"),
        ("two\nlines", "line break"),
    ],
)
def test_a_source_that_cannot_be_meant_is_refused(text: str, words: str) -> None:
    with pytest.raises(SecretError, match=words):
        parse_source(text)
