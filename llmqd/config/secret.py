"""Secrets: texts that are never shown, and the places they are read from."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

SCHEMES = ("env", "file", "credential")
_MAX_BYTES = 64 * 1024


class SecretError(ValueError):
    """A secret cannot be used; the text says why and names its source, never its content."""


class SecretMissing(SecretError):
    """The place that should hold the secret does not exist (yet): a variable not set, a file not there."""


class Secret:
    """A text that shows itself only when asked by name, so that it cannot slip into a log or an answer."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(...)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(("Secret", self._text))

    def __reduce__(self) -> str:
        raise TypeError("a secret is not written anywhere")


@dataclass(frozen=True, slots=True)
class SecretSource:
    """Where a secret comes from: `env:NAME`, `file:/path`, `credential:NAME`, or the `text` itself (scheme `plain`)."""

    scheme: str
    where: str = ""
    text: Secret | None = None

    def __str__(self) -> str:
        return f"{self.scheme}:{self.where}"


def parse_source(text: str) -> SecretSource:
    """Read the written form of a secret. Raises SecretError when it cannot be meant so."""
    scheme, colon, where = text.partition(":")
    if not colon or scheme not in SCHEMES:
        near = get_close_matches(scheme.lower(), SCHEMES, n=1) if colon and re.fullmatch("[A-Za-z]+", scheme) else []
        if near:
            raise SecretError(f'starts with "{scheme}:"; did you mean "{near[0]}:"?')
        return SecretSource("plain", text=Secret(_checked(text, "the value")))
    if not where:
        raise SecretError(f'"{scheme}:" names nothing; write for example "{_example(scheme)}"')
    if not where.isprintable():
        raise SecretError(f'"{scheme}:" names something with a control character in it')
    if scheme == "file" and not where.startswith("/"):
        raise SecretError(f'"file:{where}": write the whole path, for example "{_example(scheme)}"')
    if scheme == "credential" and ("/" in where or where in {".", ".."}):
        raise SecretError(f'"credential:{where}": a credential has a name, not a path')
    return SecretSource(scheme, where)


def read_source(source: SecretSource, environ: Mapping[str, str]) -> Secret:
    """The secret itself.

    `credential:NAME` is the file NAME in `$CREDENTIALS_DIRECTORY`, as systemd's `LoadCredential=NAME:...` provides it,
    or `llmqd_NAME`, as `LoadCredential=llmqd:DIRECTORY` names the files of a whole directory (systemd.exec(5)).

    Raises SecretMissing where nothing is there, SecretError for everything else.
    """
    if source.text is not None:
        return source.text
    if source.scheme == "env":
        value = environ.get(source.where, "").strip()
        if not value:
            raise SecretMissing(f"the environment variable {source.where} is not set")
        return Secret(_checked(value, f"the environment variable {source.where}"))
    if source.scheme == "file":
        return _read_file(Path(source.where), str(source))
    return _read_file(secret_path(source, environ), str(source))


def read_headers(
    given: Iterable[tuple[str, SecretSource]], environ: Mapping[str, str], report: Callable[[str], object]
) -> tuple[tuple[str, Secret], ...]:
    """Headers with their values; `report` is told of each that cannot be read, and why."""
    headers = []
    for name, source in given:
        try:
            headers.append((name, read_source(source, environ)))
        except SecretError as error:
            report(f"{name}: {error}")
    return tuple(headers)


def secret_path(source: SecretSource, environ: Mapping[str, str]) -> Path:
    """Where the file of a `file:` or `credential:` secret lies, whether it is there or not. Raises SecretMissing."""
    if source.scheme == "file":
        return Path(source.where)
    directory = environ.get("CREDENTIALS_DIRECTORY", "")
    if not directory:
        raise SecretMissing(f"{source}: $CREDENTIALS_DIRECTORY is not set (systemd sets it for LoadCredential=)")
    of_directory = Path(directory, f"llmqd_{source.where}")
    return of_directory if os.path.exists(of_directory) else Path(directory, source.where)


def _read_file(path: Path, source: str) -> Secret:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        raise SecretMissing(f"{source}: the file {path} does not exist") from None
    except OSError as error:
        raise SecretError(f"{source}: cannot read {path}: {os.strerror(error.errno or 0)}") from None
    if len(data) > _MAX_BYTES:
        raise SecretError(f"{source}: {path} is larger than 64 KiB, so it is no key")
    try:
        text = data.decode().strip()
    except UnicodeDecodeError:
        raise SecretError(f"{source}: {path} is not UTF-8 text") from None
    return Secret(_checked(text, str(path)))


def _checked(text: str, what: str) -> str:
    """Secrets travel in header fields (RFC 9110 section 5.5), so only printable ASCII can be meant."""
    if not text.strip():
        raise SecretError(f"{what} is empty")
    if not (text.isascii() and text.isprintable()):
        raise SecretError(f"{what} holds a line break or another character that no key has")
    return text


def _example(scheme: str) -> str:
    return {"env": "env:OPENAI_API_KEY", "file": "file:/etc/llmqd/openai.key", "credential": "credential:openai"}[
        scheme
    ]
