"""`/api/v1/keys`: the client keys and what each may, without anything by which one could be used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

from llmqd.web.api.values import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmqd.auth.key import ClientKey
    from llmqd.auth.keyring import Keyring
    from llmqd.web.api.endpoint import Asked


class Key(Struct, kw_only=True):
    """A client key. `rpm` and `tpm` of 0 mean no limit, no `models` or `upstreams` that all are allowed. `budgets` are
    written as `20 USD/day`; `/api/v1/budgets` has what is spent of them.
    """

    name: str
    id: str
    state: Literal["active", "expired", "revoked"]
    created: str
    expires: str | None
    revoked: str | None
    last_used: str | None
    priority: int | None
    weight: float
    rpm: float
    tpm: float
    budgets: list[str]
    models: list[str]
    upstreams: list[str]

    @classmethod
    def of(cls, key: ClientKey, last_used: float | None, now: float) -> Key:
        """Of what the keyring knows, at a moment in Unix seconds."""
        expired = key.expires is not None and now >= key.expires
        return cls(
            name=key.name,
            id=key.id,
            state="revoked" if key.revoked is not None else "expired" if expired else "active",
            created=rfc3339(key.created),
            expires=_time(key.expires),
            revoked=_time(key.revoked),
            last_used=_time(last_used),
            priority=key.priority,
            weight=key.weight,
            rpm=key.rpm,
            tpm=key.tpm,
            budgets=[one.limit for one in key.budgets],
            models=list(key.models),
            upstreams=list(key.upstreams),
        )


class KeyPage(Struct):
    """All client keys, revoked ones too, in the order in which they were made."""

    keys: list[Key]


class KeyList:
    """The handler. `wall` is Unix time in seconds."""

    def __init__(self, keyring: Keyring, *, wall: Callable[[], float]) -> None:
        self._keyring = keyring
        self._wall = wall

    async def list_keys(self, _: Asked[Any, Any]) -> KeyPage:
        """The client keys, what each may, and when it was last used; never a key itself nor its digest."""
        now = self._wall()
        keys = sorted(self._keyring, key=lambda key: key.created)
        return KeyPage([Key.of(key, self._keyring.last_use(key.name), now) for key in keys])


def _time(at: float | None) -> str | None:
    return None if at is None else rfc3339(at)
