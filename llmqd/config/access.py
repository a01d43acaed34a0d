"""Builds what guards the daemon: `[auth]`, the files of TLS, and whether it may listen where it is told to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmqd.config.auth import SHORTEST_TOKEN, Auth
from llmqd.config.environment import Environment
from llmqd.config.faults import Faults
from llmqd.config.model import Server
from llmqd.config.secret import Secret, SecretError, SecretMissing, SecretSource, read_source, secret_path


@dataclass(slots=True)
class AccessBuilder:
    """Turns what the file says of access into settings; every fault is reported."""

    environment: Environment
    faults: Faults

    def server(self, values: Mapping[str, Any]) -> Server:
        """`[server]`, with the places of its TLS files."""
        values = dict(values)
        for name in ("tls_certificate", "tls_key"):
            if isinstance(source := values.get(name), SecretSource):
                values[name] = self._path(name, source)
        server = Server(**values)
        wants = [str(address) for address in server.addresses if address.tls]
        if wants and "tls_certificate" not in values:
            self.faults.add(("server", "listen"), f"[server] listen: {wants[0]} needs tls_certificate")
        return server

    def auth(self, values: Mapping[str, Any], server: Server) -> Auth:
        """`[auth]`, with its token. Without keys only this machine's own programs may reach the daemon."""
        values = dict(values)
        if isinstance(source := values.get("admin_token"), SecretSource):
            values["admin_token"], values["missing"] = self._token(source)
        auth = Auth(**values)
        for address in server.addresses:
            if auth.mode == "open" and not address.loopback:
                self.faults.add(
                    ("server", "listen"),
                    f'[server] listen: {address} can be reached from other machines, and [auth] mode = "open" would let'
                    ' everybody there spend your keys; set [auth] mode = "keys" (llmqd keys create), or listen on'
                    " 127.0.0.1 or a unix socket",
                )
            elif not address.loopback and not address.tls:
                self.faults.warn(
                    f"listening on {address}: keys and texts pass unencrypted there; tls:{address} is HTTPS"
                )
        if auth.mode == "keys" and auth.admin_token is None and not any(one.path for one in server.addresses):
            self.faults.warn(
                "nobody can ask llmqd itself (status, queue, API): set [auth] admin_token, or listen on a unix socket"
            )
        return auth

    def _path(self, name: str, source: SecretSource) -> Path | None:
        """A credential is there only while systemd runs the daemon, which says itself what it cannot read."""
        try:
            path = secret_path(source, self.environment.variables)
        except SecretMissing as error:
            self.faults.warn(f"[server] {name}: {error}")
            return None
        try:
            if not path.is_file():
                self.faults.warn(f"[server] {name}: {source}: the file {path} does not exist")
        except OSError as error:
            self.faults.warn(f"[server] {name}: {source}: cannot read {path}: {os.strerror(error.errno or 0)}")
        return path

    def _token(self, source: SecretSource) -> tuple[Secret | None, str | None]:
        """The token, or why it is not there: then nobody has access with a token, and not everybody without one."""
        at = ("auth", "admin_token")
        try:
            token = read_source(source, self.environment.variables)
        except SecretMissing as error:
            self.faults.warn(f"[auth] admin_token: {error}")
            return None, str(error)
        except SecretError as error:
            self.faults.add(at, f"[auth] admin_token: {error}")
            return None, None
        if len(token.reveal()) < SHORTEST_TOKEN:
            self.faults.add(
                at,
                f"[auth] admin_token: has fewer than {SHORTEST_TOKEN} characters; make one with: openssl rand -hex 24",
            )
        return token, None
