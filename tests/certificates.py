"""A certificate for this machine that nobody vouches for."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path


def own_certificate(directory: Path) -> ssl.SSLContext:
    """A server's context with a new certificate for 127.0.0.1; it lies in `cert.pem`, for those who should trust it."""
    key, certificate = directory / "key.pem", directory / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command, *names], check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context
