"""TLS of the listeners: the certificate in force, which a reload reads anew without closing a connection."""

from __future__ import annotations

import logging
import os
import ssl
from typing import TYPE_CHECKING, Self

from llmqd.errors import ListenError

if TYPE_CHECKING:
    from pathlib import Path

    from llmqd.config.model import Server

logger = logging.getLogger(__name__)


class ServerTls:
    """`context` is what listeners use; connections that come after a reload get the new certificate."""

    def __init__(self, certificate: Path, key: Path | None) -> None:
        self.context = _context(certificate, key)

    @classmethod
    def of(cls, server: Server) -> Self | None:
        """The TLS that `[server]` asks for; None without a certificate. Raises ListenError."""
        return None if server.tls_certificate is None else cls(server.tls_certificate, server.tls_key)

    def reload(self, server: Server) -> None:
        """Takes the certificate as it is now; one that cannot be used leaves the old one in force, and is logged."""
        if server.tls_certificate is None:
            return
        try:
            _context(server.tls_certificate, server.tls_key)  # a broken pair must not leave a half-changed context
            self.context.load_cert_chain(server.tls_certificate, server.tls_key, _no_password)
        except (ListenError, OSError) as error:
            logger.error("the TLS certificate stays as it was: %s", error)


def _context(certificate: Path, key: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, _no_password)
    except ssl.SSLError as error:
        reason = error.reason or "they hold no certificate and private key (PEM)"  # OpenSSL gives none for other text
        raise ListenError(
            f"[server] tls_certificate {certificate} and tls_key {key or certificate} cannot be used: {reason}"
        ) from error
    except (OSError, ValueError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise ListenError(
            f"[server] tls_certificate {certificate} or tls_key {key} cannot be read: {reason}"
        ) from error
    return context


def _no_password() -> str:
    """Nobody is there to be asked."""
    raise ValueError("the key has a password; store it without")
