"""The settings of `[cluster]`: the Redis through which several daemons are one."""

# ruff: noqa: RUF009 - setting() makes a dataclass field, as dataclasses.field() does

from __future__ import annotations

from dataclasses import dataclass

from llmqd.config.kinds import Integer
from llmqd.config.net_kinds import KeyPrefix, SecretText
from llmqd.config.secret import Secret
from llmqd.config.setting import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """How daemons find each other; each is by itself without `redis`."""

    redis: Secret | None = setting(
        SecretText(),
        None,
        "Address of the Redis (6.2 or newer) through which several daemons share limits, pauses, what was learned and\n"
        "the order of waiting; or where it stands: env:NAME, file:/path, credential:NAME.\n"
        "redis://user:password@host:6379/0, rediss:// with TLS (?ca_file=/path), unix:///path,\n"
        "redis+sentinel://host:26379,host:26379/name, redis+cluster://host:6379,host:6379. Unset: each by itself.",
        example="redis://localhost:6379/0",
    )
    prefix: str = setting(
        KeyPrefix(),
        "{llmqd}",
        "What the names of its keys and channels begin with; daemons with the same one are one cluster. The braces\n"
        "keep all of them on one node of a Redis Cluster.",
    )
    members: int = setting(
        Integer(least=1),
        2,
        "How many daemons there are at least: while Redis is away each keeps to its part of the limits, one of as\n"
        "many as were last seen, or of so many where that is more.",
    )
