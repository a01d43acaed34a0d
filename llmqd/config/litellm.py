"""The settings of `[litellm]`: a LiteLLM proxy whose calls are to be in the ledger as well."""

# ruff: noqa: RUF009 - setting() makes a dataclass field, as dataclasses.field() does

from __future__ import annotations

from dataclasses import dataclass

from llmqd.config.kinds import Duration
from llmqd.config.net_kinds import SecretText
from llmqd.config.secret import Secret
from llmqd.config.setting import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class LiteLLM:
    """The database that is followed; none without `dsn`."""

    dsn: Secret | None = setting(
        SecretText(),
        None,
        "Address of LiteLLM's PostgreSQL database, or where that stands: env:NAME, file:/path, credential:NAME. Its\n"
        "calls (table LiteLLM_SpendLogs) are taken into the ledger, in the background. Unset: $DATABASE_URL if that\n"
        "is the address of a PostgreSQL database, else none.",
        example="postgresql://llmqd@localhost/litellm",
    )
    every: float = setting(Duration(least=1), "60s", "How often it is looked for new calls.")
