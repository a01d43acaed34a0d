"""Asks the running daemon over HTTP, by TCP or unix socket."""

from __future__ import annotations

import http
import http.client
import os
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import orjson

from llmqd.errors import DaemonRefused, DaemonUnreachable

if TYPE_CHECKING:
    from llmqd.cli.locate import Located

_PATIENCE = 10.0
"""Seconds that the daemon may take to answer; it answers in milliseconds unless it is stuck."""
_PIECE = 1 << 16


TOKEN_VARIABLE = "LLMQD_ADMIN_TOKEN"
"""Where commands find the admin token; through a unix socket root and the daemon's own user need none."""


def credentials() -> dict[str, str]:
    """The header that shows the admin token; none where the environment has no token. Raises DaemonRefused."""
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not token:
        return {}
    if not (token.isascii() and token.isprintable()):
        raise DaemonRefused(f"the token in ${TOKEN_VARIABLE} holds characters that no token has")
    return {"Authorization": f"Bearer {token}"}


def locked_out() -> DaemonRefused:
    """What a command says when the daemon does not let it in."""
    if os.environ.get(TOKEN_VARIABLE, "").strip():
        return DaemonRefused(
            f"the daemon does not take the token in ${TOKEN_VARIABLE}: [auth] admin_token names its own"
        )
    return DaemonRefused(f"the daemon wants its admin token: put what [auth] admin_token names into ${TOKEN_VARIABLE}")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("llmqd", timeout=_PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_PATIENCE)
        self.sock.connect(self._path)


class DaemonClient:
    """One daemon. Every question is a connection of its own."""

    def __init__(self, located: Located) -> None:
        self.located = located

    def ask(
        self, method: str, path: str, body: Mapping[str, object] | None = None, *, accept: tuple[int, ...] = (200,)
    ) -> Any:
        """The JSON of an answer whose status is one of `accept`.

        Raises DaemonUnreachable when there is none, or none of llmqd's; DaemonRefused with the daemon's own sentence.
        """
        with self._answered(method, path, body) as response:
            return self._read(response.status, self._whole(response), accept)

    def page(self, path: str) -> tuple[Any, str | None]:
        """The JSON of a page, and the `cursor` of the one behind it, from its header `Link`; None on the last.

        Raises as `ask`.
        """
        with self._answered("GET", path) as response:
            answer = self._read(response.status, self._whole(response), (200,))
            following = re.search(r"[?&]cursor=([^&>]+)", response.headers.get("Link", ""))
        return answer, following[1] if following else None

    @contextmanager
    def streaming(self, path: str) -> Iterator[Iterator[bytes]]:
        """The body of an answer of any size, piece by piece.

        Raises as `ask`, while it is read too: an answer that breaks off is no answer.
        """
        with self._answered("GET", path) as response:
            if response.status != 200:
                self._read(response.status, self._whole(response), ())
            yield self._pieces(response)

    def _pieces(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        try:
            while piece := response.read(_PIECE):
                yield piece
        except (OSError, http.client.HTTPException) as error:
            reason = "it broke off" if isinstance(error, http.client.IncompleteRead) else _reason(error)
            raise DaemonUnreachable(f"the answer of {self.located} is not whole: {reason}") from error

    @contextmanager
    def _answered(
        self, method: str, path: str, body: Mapping[str, object] | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        connection = self._connection()
        try:
            try:
                data = None if body is None else orjson.dumps(body)
                headers = {"Content-Type": "application/json", "Connection": "close"}
                connection.request(method, path, data, headers | credentials())
                response = connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                raise self._unreachable(_reason(error)) from error
            if not response.headers.get("Server", "").startswith("llmqd"):
                raise self._unreachable("what answers there is not llmqd")
            yield response
        finally:
            connection.close()

    def _whole(self, response: http.client.HTTPResponse) -> bytes:
        try:
            return response.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(_reason(error)) from error

    def _connection(self) -> http.client.HTTPConnection:
        address = self.located.address
        if address.path:
            return _UnixConnection(address.path)
        kind = http.client.HTTPSConnection if self.located.tls else http.client.HTTPConnection
        return kind(address.host, address.port, timeout=_PATIENCE)

    def _read(self, status: int, answer: bytes, accept: tuple[int, ...]) -> Any:
        try:
            body = orjson.loads(answer)
        except orjson.JSONDecodeError:
            raise self._unreachable(f"its answer ({status}) is not JSON") from None
        if status in accept:
            return body
        if status == http.HTTPStatus.UNAUTHORIZED:
            raise locked_out()
        error = body.get("error") if isinstance(body, dict) else None
        message = error.get("message") if isinstance(error, dict) else None
        raise DaemonRefused(str(message or f"the daemon answered {status}"))

    def _unreachable(self, reason: str) -> DaemonUnreachable:
        return DaemonUnreachable(
            f"no llmqd daemon answers at {self.located} ({self.located.why}): {reason}\n"
            "Is it running (systemctl status llmqd)? Another address is given with --url."
        )


def _reason(error: OSError | http.client.HTTPException) -> str:
    if isinstance(error, TimeoutError):
        return f"nothing came for {_PATIENCE:g} s"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"what answers there speaks no TLS ({error.reason})"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__
