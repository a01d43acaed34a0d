"""A client key: what it allows, and the token that its holder shows, of which only a digest is kept."""

from __future__ import annotations

import hmac
import re
import secrets
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple

from llmqd.config.budgets import Budget, parse_allowance
from llmqd.config.kinds import Choice, Zone
from llmqd.controls import PRIORITIES

PREFIX = "sk-llmqd-"
"""How every token begins: SDKs that look for sk- take it, and whatever masks keys of providers masks it too."""
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_ID, _SECRET = 8, 40
"""Characters of the part by which a key is found, and of the secret: 200 random bits."""
_TOKEN = re.compile(rf"{PREFIX}([{_ALPHABET}]{{{_ID}}})-([{_ALPHABET}]{{{_SECRET}}})")
_DEMOTED = Choice(tuple(PRIORITIES), digits=True)
_NOBODY = sha256(b"").hexdigest()


class NewToken(NamedTuple):
    """A fresh token: `text` is shown once, `id` and `digest` are kept."""

    text: str
    id: str
    digest: str


def new_token() -> NewToken:
    """A token that nobody can guess."""
    key_id, secret = _random(_ID), _random(_SECRET)
    return NewToken(f"{PREFIX}{key_id}-{secret}", key_id, digest_of(secret))


def digest_of(secret: str) -> str:
    """What is kept of a secret. It is random and long, so that a plain digest cannot be searched backwards."""
    return sha256(secret.encode()).hexdigest()


def parse_token(text: str) -> tuple[str, str] | None:
    """The id and the secret of a token; None for what is none of llmqd's."""
    found = _TOKEN.fullmatch(text)
    return None if found is None else (found[1], found[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyBudget:
    """What a key may spend, as it is written: `20/day`, in a time zone; from four fifths of it on with what priority.

    Raises ValueError for what is no budget.
    """

    limit: str
    zone: str = "UTC"
    demote_to: str | None = None

    def __post_init__(self) -> None:
        self.of("")

    def of(self, key: str) -> Budget:
        """The budget of the key of this name."""
        limit = parse_allowance(self.limit)
        return Budget(
            limit=limit,
            by="key",
            names=(key,),
            zone=Zone().read(self.zone),
            demote_to=None if self.demote_to is None else _DEMOTED.read(self.demote_to),
            max_tracked=1,
            name=str(limit),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientKey:
    """One client key. Times are Unix seconds; None: never, no limit, or as for everybody.

    `name` is what records and figures call it, never given twice. `models` and `upstreams` are patterns with * and ?;
    empty ones allow all.
    """

    id: str
    name: str
    digest: str
    created: float
    expires: float | None = None
    revoked: float | None = None
    priority: int | None = None
    weight: float = 1.0
    rpm: float = 0.0
    tpm: float = 0.0
    models: tuple[str, ...] = ()
    upstreams: tuple[str, ...] = ()
    budgets: tuple[KeyBudget, ...] = ()

    @property
    def allowances(self) -> tuple[Budget, ...]:
        """Its budgets as they are held."""
        return _allowances(self.name, self.budgets)

    def fits(self, secret: str) -> bool:
        """Whether this is its secret, in the same time whatever it is."""
        return hmac.compare_digest(self.digest, digest_of(secret))

    def why_not(self, now: float) -> str | None:
        """Why it cannot be used now, as a sentence; None when it can."""
        if self.revoked is not None:
            return "this key was revoked"
        if self.expires is not None and now >= self.expires:
            return "this key has expired"
        return None

    def may_use_model(self, model: str | None) -> bool:
        """Whether calls to this model are allowed; a call that names none is not where only some are."""
        return not self.models or (model is not None and any(fnmatchcase(model, one) for one in self.models))

    def may_use_upstream(self, upstream: str) -> bool:
        """Whether calls to this upstream are allowed."""
        name = upstream.lower()
        return not self.upstreams or any(fnmatchcase(name, one.lower()) for one in self.upstreams)


@lru_cache(maxsize=4096)
def _allowances(key: str, budgets: tuple[KeyBudget, ...]) -> tuple[Budget, ...]:
    return tuple(one.of(key) for one in budgets)


def compare_with_nobody(secret: str) -> None:
    """Takes the time of a comparison where there is no such key, so that the time does not tell."""
    hmac.compare_digest(_NOBODY, digest_of(secret))


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
