"""Settings from environment variables that llmqd's predecessors and SDKs use, for those that the file leaves open."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmqd.config.faults import Faults
from llmqd.config.model import SECTIONS
from llmqd.config.secret import SecretSource
from llmqd.config.setting import settings_of

DEFAULT_RATE = 60
_LEVELS = {"critical": "error", "fatal": "error", "warn": "warning"}


@dataclass(slots=True)
class Environment:
    """The variables, and where to report what is wrong with them. An empty variable counts as unset."""

    variables: Mapping[str, str]
    faults: Faults

    def get(self, name: str) -> str | None:
        """The variable without surrounding space, None where it is unset or empty."""
        return self.variables.get(name, "").strip() or None

    def values(self, taken: set[tuple[str, str]]) -> dict[str, dict[str, Any]]:
        """Values by section and setting, except for the (section, setting) pairs in `taken`."""
        found: dict[str, dict[str, Any]] = {section.name: {} for section in SECTIONS if not section.repeated}
        readers = (
            ("server", "listen", self._listen),
            ("server", "allowed_origins", self._allowed_origins),
            ("queue", "requests_per_minute", self._requests_per_minute),
            ("store", "backend", self._backend),
            ("store", "path", self._path),
            ("litellm", "dsn", self._database_url),
            ("log", "level", self._level),
        )
        for section, name, reader in readers:
            if (section, name) not in taken and (value := reader()) is not None:
                found[section][name] = value
        self._memory_dsn(found["store"], taken)
        return found

    def _read(self, variable: str, section: str, name: str, value: object) -> Any:
        model = next(one.model for one in SECTIONS if one.name == section)
        try:
            return settings_of(model)[name].kind.read(value)
        except ValueError as error:
            self.faults.add_elsewhere(f"environment {variable}", str(error))
            return None

    def _listen(self) -> tuple[str, ...] | None:
        port_variable = "PORT" if self.get("PORT") else "API_PORT"
        host, port = self.get("API_HOST"), self.get(port_variable)
        if host is None and port is None:
            return None
        variable = port_variable if port else "API_HOST"
        if port and not re.fullmatch("[0-9]{1,9}", port):
            self.faults.add_elsewhere(f"environment {variable}", f'"{port}" is no port')
            return None
        if host and ":" in host and not host.startswith("["):
            host = f"[{host}]"
        listen: tuple[str, ...] | None = self._read(
            variable, "server", "listen", [f"{host or '127.0.0.1'}:{port or 8080}"]
        )
        return listen

    def _allowed_origins(self) -> tuple[str, ...] | None:
        text = self.get("ALLOWED_ORIGINS")
        if text is None:
            return None
        items = list(dict.fromkeys(item.strip() for item in text.split(",") if item.strip()))
        origins: tuple[str, ...] | None = self._read("ALLOWED_ORIGINS", "server", "allowed_origins", items)
        return origins

    def _requests_per_minute(self) -> float | None:
        text = self.get("RATE_LIMIT_PER_MIN")
        if text is None:
            return None
        try:
            rate = float(text)
        except ValueError:
            self.faults.add_elsewhere("environment RATE_LIMIT_PER_MIN", f'"{text}" is no number')
            return None
        if rate <= 0:
            self.faults.warn(f"environment RATE_LIMIT_PER_MIN = {text} is taken as {DEFAULT_RATE}")
            return float(DEFAULT_RATE)
        if not rate <= 10**12:
            self.faults.add_elsewhere("environment RATE_LIMIT_PER_MIN", f'"{text}" is no usable number')
            return None
        return rate

    def _backend(self) -> str | None:
        text = self.get("REPOSITORY_TYPE")
        if text is None:
            return None
        backend: str | None = self._read("REPOSITORY_TYPE", "store", "backend", text.lower())
        return backend

    def _path(self) -> Any:
        text = self._dsn()
        return None if text in {None, ":memory:"} else self._read("SQLITE_DSN", "store", "path", text)

    def _dsn(self) -> str | None:
        """SQLITE_DSN as a path: the URI form of SQLite (`file:sessions.db?cache=shared`) loses its wrapping."""
        text = self.get("SQLITE_DSN")
        if text is None or not text.startswith("file:"):
            return text
        return text.removeprefix("file:").partition("?")[0] or ":memory:"

    def _memory_dsn(self, store: dict[str, Any], taken: set[tuple[str, str]]) -> None:
        if self._dsn() == ":memory:" and not taken & {("store", "path"), ("store", "backend")}:
            store.setdefault("backend", "memory")

    def _database_url(self) -> SecretSource | None:
        """Where LiteLLM has its calls, as for the API that read them before."""
        text = self.get("DATABASE_URL")
        if text is None:
            return None
        if not text.startswith(("postgres://", "postgresql://")):
            self.faults.warn("DATABASE_URL is not the address of a PostgreSQL database; it is ignored")
            return None
        return SecretSource("env", "DATABASE_URL")

    def _level(self) -> str | None:
        text = self.get("LOG_LEVEL")
        if text is None:
            return None
        level: str | None = self._read("LOG_LEVEL", "log", "level", _LEVELS.get(text.lower(), text.lower()))
        return level
