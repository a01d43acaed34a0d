"""The settings of `[alerts]`: who is told when somebody should look."""

# ruff: noqa: RUF009 - setting() makes a dataclass field, as dataclasses.field() does

from __future__ import annotations

from dataclasses import dataclass

from llmqd.config.kinds import Duration, Integer, Listing, Size
from llmqd.config.net_kinds import Name, SecretText
from llmqd.config.secret import Secret
from llmqd.config.setting import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Alerts:
    """Who is told when somebody should look. Every alert is in the log and in GET /events in any case."""

    webhook: Secret | None = setting(
        SecretText(),
        None,
        "URL that gets each alert as a POST of JSON (docs/alerts.md): env:NAME, file:/path, credential:NAME or the\n"
        "text itself. It may hold a secret, so it is never shown.",
        example="env:ALERT_WEBHOOK",
    )
    webhook_secret: Secret | None = setting(
        SecretText(),
        None,
        "What POSTs are signed with (HMAC-SHA256, standardwebhooks.com). Unset: they are not signed.",
        example="env:ALERT_SECRET",
    )
    names: tuple[str, ...] = setting(
        Listing(Name()), [], "Names of the alerts that go to the webhook, for example upstream_down. Empty: all."
    )
    repeat_after: float = setting(
        Duration(), "5m", "Time within which the same alert is told once, in the log and to the webhook."
    )
    upstream_down_after: int = setting(
        Integer(least=1), 3, "Calls that fail in a row, with none that is answered, until an upstream counts as down."
    )
    timeout: float = setting(Duration(least=0.01), "10s", "Longest time that the webhook may take to answer.")
    retries: int = setting(
        Integer(most=20), 8, "How often a POST that failed is sent again, after 1 s, 2 s, 4 s and so on to 1 m."
    )
    max_pending: int = setting(
        Size(least=1024), "1MiB", "Memory for alerts that wait for the webhook; beyond it the oldest are dropped."
    )
