"""The client keys as the running daemon knows them: a change of their file counts from the next look on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

from llmqd.auth.key import ClientKey, compare_with_nobody, parse_token
from llmqd.auth.key_file import KeyFile
from llmqd.errors import InvalidKey, KeyFileError

logger = logging.getLogger(__name__)


class Keyring:
    """Finds the key of a token. `wall` is Unix time in seconds.

    Each question looks whether the file has changed, so that a revoked key is refused at once. A file that cannot be
    read lets nobody in and is a fault in /health: keys that were revoked in it must not live on.
    """

    def __init__(self, file: KeyFile, *, wall: Callable[[], float]) -> None:
        self._file = file
        self._wall = wall
        self._stamp: object = ()
        self._by_id: dict[str, ClientKey] = {}
        self._by_name: dict[str, ClientKey] = {}
        self._uses = file.read_uses()
        self._written = dict(self._uses)
        self.fault: str | None = None
        self._refresh()

    def __iter__(self) -> Iterator[ClientKey]:
        """Every key, revoked ones too."""
        self._refresh()
        return iter(self._by_name.values())

    def named(self, name: str) -> ClientKey | None:
        """The key of this name, as it is now."""
        self._refresh()
        return self._by_name.get(name)

    def find(self, token: str) -> ClientKey:
        """The key of this token, which counts as used now. Raises InvalidKey."""
        self._refresh()
        parsed = parse_token(token)
        key = None if parsed is None else self._by_id.get(parsed[0])
        if parsed is None or key is None:
            compare_with_nobody(token)
            raise InvalidKey("this key is not known here")
        if not key.fits(parsed[1]):
            raise InvalidKey("this key is not known here")
        now = self._wall()
        if (reason := key.why_not(now)) is not None:
            raise InvalidKey(reason, known=True)
        self._uses[key.name] = now
        return key

    def check(self, name: str) -> None:
        """Raises InvalidKey where the key of this name cannot be used any more."""
        key = self.named(name)
        reason = "this key is not known any more" if key is None else key.why_not(self._wall())
        if reason is not None:
            raise InvalidKey(reason, known=True)

    def usable(self) -> set[str]:
        """The names of all keys that can be used, by one look at their file."""
        now = self._wall()
        return {key.name for key in self if key.why_not(now) is None}

    def last_use(self, name: str) -> float | None:
        """When a key was last used, in Unix seconds."""
        return self._uses.get(name)

    def keep_uses(self) -> None:
        """Writes down when keys were last used, where that has changed; for a thread."""
        uses = dict(self._uses)
        if uses == self._written:
            return
        try:
            self._file.write_uses({name: at for name, at in uses.items() if name in self._by_name})
            self._written = uses
        except KeyFileError as error:
            logger.warning("when keys were last used cannot be kept: %s", error)

    def _refresh(self) -> None:
        stamp = self._file.stamp()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            keys = self._file.read()
            self.fault = None
        except KeyFileError as error:
            keys, self.fault = (), str(error)
            logger.error("no client key is accepted: %s", error)
        self._by_id = {key.id: key for key in keys}
        self._by_name = {key.name: key for key in keys}
