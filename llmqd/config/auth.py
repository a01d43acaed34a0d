"""The settings of `[auth]`: who may call, and who may ask llmqd itself."""

# ruff: noqa: RUF009 - setting() makes a dataclass field, as dataclasses.field() does

from __future__ import annotations

from dataclasses import dataclass

from llmqd.config.kinds import Choice, Integer, Listing
from llmqd.config.net_kinds import SecretText
from llmqd.config.secret import Secret
from llmqd.config.setting import setting

SHORTEST_TOKEN = 16
"""Characters of the shortest admin token: nobody guesses one in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """Who may call. Client keys are made with `llmqd keys create`."""

    mode: str = setting(
        Choice(("open", "keys")),
        "open",
        "open: everybody who reaches llmqd may call, so it may listen on loopback and unix sockets only.\n"
        "keys: calls need a client key, and llmqd's own URLs the admin token or a client key, which sees only its own.",
    )
    admin_token: Secret | None = setting(
        SecretText(),
        None,
        "What opens llmqd's own URLs and the dashboard: env:NAME, file:/path, credential:NAME or the text itself, 16\n"
        "characters at least. With it they are guarded in mode open as well. Unset: in mode keys only unix_admins\n"
        "have access.",
        example="credential:admin",
    )
    guard: tuple[str, ...] = setting(
        Listing(Choice(("health", "metrics"))),
        [],
        "Which of /health and /metrics need the admin token too.",
    )
    unix_admins: tuple[int, ...] = setting(
        Listing(Integer(most=2**32 - 2)),
        [0],
        "User ids that need no token on a unix listener; the daemon's own needs none either.",
    )
    unix_clients: tuple[int, ...] = setting(
        Listing(Integer(most=2**32 - 2)),
        [],
        "User ids that need no client key on a unix listener: their calls count as those of a key named uid-N.",
    )

    missing: str | None = None
    """What keeps admin_token from being known, as a sentence; None when it is there or when none is wanted."""
