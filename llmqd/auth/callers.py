"""Decides who calls, and whether they may: what was presented in, a Caller or a refusal out."""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Literal

from llmqd.auth.guessing import Guesses
from llmqd.auth.key import PREFIX, ClientKey
from llmqd.auth.logins import Logins
from llmqd.errors import InvalidKey, NotAllowed, TooManyAttempts
from llmqd.memo import Memo

if TYPE_CHECKING:
    from llmqd.auth.keyring import Keyring
    from llmqd.config.model import Auth

_REMEMBERED, _LONGEST_REMEMBERED = 512, 1024
"""How often it is remembered whether tokens are llmqd's own, and of how many characters."""

Role = Literal["admin", "client", "anyone"]


@dataclass(frozen=True, slots=True)
class Presented:
    """What a request shows of who sends it: the tokens in it, where it comes from, and a dashboard's cookie.

    `address` is "unix" for a unix socket, whose peer is `uid`. `by_cookie_allowed`: a page of ours has sent it.
    """

    tokens: tuple[str, ...] = ()
    address: str = ""
    uid: int | None = None
    cookie: str | None = None
    by_cookie_allowed: bool = False


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. `name` is that of a client key or `uid-N`; None for the admin and, without keys, for anyone.

    `strips`: the keys in the request are for llmqd alone and must not reach an upstream.
    """

    role: Role
    name: str | None = None
    key: ClientKey | None = None
    strips: bool = False


ANYONE = Caller("anyone")
ADMIN = Caller("admin", strips=True)


class Callers:
    """Knows who may do what, by `[auth]`. `clock` is monotonic, `wall` Unix time, both in seconds."""

    def __init__(
        self, settings: Auth, keyring: Keyring, *, clock: Callable[[], float], wall: Callable[[], float]
    ) -> None:
        self.keyring = keyring
        self.logins = Logins(wall=wall)
        self._guesses = Guesses(clock=clock)
        self._digest: bytes | None = None
        self._anyone: Memo[tuple[str, ...], Caller] = Memo(_REMEMBERED)
        self.settings = settings
        self.replace(settings)

    def replace(self, settings: Auth) -> None:
        """Puts other settings in force. With another admin token every login is over."""
        token = settings.admin_token
        digest = None if token is None else sha256(token.reveal().encode()).digest()
        if digest != self._digest:
            self.logins.end_all()
        self.settings, self._digest = settings, digest
        self._anyone.clear()

    @property
    def guarded(self) -> bool:
        """Whether llmqd's own URLs ask who calls."""
        return self.settings.mode == "keys" or self._digest is not None or self.settings.missing is not None

    def of_anyone(self, tokens: tuple[str, ...]) -> Caller | None:
        """Who makes a call that shows these, where anybody may; None where keys decide."""
        if self.settings.mode != "open":
            return None
        caller = self._anyone.get(tokens)
        if caller is None:
            ours = any(token.startswith(PREFIX) or self._is_admin(token) for token in tokens)
            caller = Caller("anyone", strips=True) if ours else ANYONE
            if sum(map(len, tokens)) <= _LONGEST_REMEMBERED:
                self._anyone.keep(tokens, caller)
        return caller

    def of_call(self, shown: Presented) -> Caller:
        """Who makes a call through the proxy. Raises InvalidKey, NotAllowed, TooManyAttempts."""
        if (anyone := self.of_anyone(shown.tokens)) is not None:
            return anyone
        fault: InvalidKey | None = None
        for token in shown.tokens:
            try:
                key = self.keyring.find(token)
            except InvalidKey as error:
                fault = error if fault is None or error.known else fault
                continue
            return Caller("client", key.name, key, strips=True)
        if shown.uid is not None and (shown.uid in self.settings.unix_clients or self._is_own(shown.uid)):
            return Caller("client", f"uid-{shown.uid}", strips=True)
        if any(self._is_admin(token) for token in shown.tokens):
            raise NotAllowed("the admin token does not make calls; use a client key (llmqd keys create)", retry=False)
        raise self._refused(shown, fault)

    def of_question(self, shown: Presented) -> Caller:
        """Who asks for one of llmqd's own URLs. Raises InvalidKey, TooManyAttempts."""
        if not self.guarded:
            return ANYONE
        if shown.uid is not None and (shown.uid in self.settings.unix_admins or self._is_own(shown.uid)):
            return ADMIN
        fault: InvalidKey | None = None
        for token in shown.tokens:
            if self._is_admin(token):
                return ADMIN
            try:
                key = self.keyring.find(token)
            except InvalidKey as error:
                fault = error if fault is None or error.known else fault
                continue
            return Caller("client", key.name, key, strips=True)
        if shown.cookie is not None and (who := self.logins.who(shown.cookie)) is not None:
            if not shown.by_cookie_allowed:
                raise NotAllowed("a change by a page needs the header X-LLMQD-CSRF: 1", retry=False)
            return self._behind_cookie(who)
        raise self._refused(shown, fault)

    def _behind_cookie(self, who: str) -> Caller:
        if not who:
            return ADMIN
        self.keyring.check(who)
        return Caller("client", who, self.keyring.named(who), strips=True)

    def _is_admin(self, token: str) -> bool:
        """Digests are compared, so that neither content nor length tells by its time."""
        digest = sha256(token.encode("utf-8", "surrogateescape")).digest()
        return self._digest is not None and hmac.compare_digest(digest, self._digest)

    def _is_own(self, uid: int) -> bool:
        return uid == os.geteuid()

    def _refused(self, shown: Presented, fault: InvalidKey | None) -> InvalidKey | TooManyAttempts:
        if fault is None:
            return InvalidKey("a key is needed here: as Authorization: Bearer, x-api-key, x-goog-api-key or api-key")
        if not fault.known and (wait := self._guesses.wrong(shown.address)) is not None:
            return TooManyAttempts("too many wrong keys came from this address", retry_after=wait, retry=False)
        return fault
