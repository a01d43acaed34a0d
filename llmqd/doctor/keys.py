"""Whether the keys are there: those of providers, the admin token, and those of clients."""

from __future__ import annotations

from collections.abc import Iterator

from llmqd.auth.key_file import KeyFile
from llmqd.config.model import Config
from llmqd.doctor.finding import Finding, fault, ok, warning
from llmqd.errors import KeyFileError

_SOON = 7 * 86400.0


def look_at_keys(config: Config, now: float) -> Iterator[Finding]:
    """`now` in Unix seconds."""
    for upstream in config.upstreams:
        for key in upstream.keys:
            if key.missing:
                yield fault("keys", f"upstream {upstream.name} has no key: {key.missing}", "put the key there, reload")
    if config.auth.missing is not None:
        yield fault("keys", f"[auth] admin_token: {config.auth.missing}", "put the token there, reload")
    try:
        keys = KeyFile(config.server.state_directory).read()
    except KeyFileError as error:
        yield fault("keys", f"no client key is accepted: {error}")
        return
    usable = [key for key in keys if key.why_not(now) is None]
    ending = [key.name for key in usable if key.expires is not None and key.expires - now < _SOON]
    if ending:
        yield warning(
            "keys", f"client keys that expire within a week: {', '.join(ending)}", "make new ones: llmqd keys create"
        )
    if config.auth.mode == "keys" and not usable and not config.auth.unix_clients:
        yield warning(
            "keys", "calls need a client key, and none can be used", "make one: llmqd keys create --name NAME"
        )
    if config.auth.mode == "keys" and config.auth.admin_token is None:
        yield warning(
            "keys",
            "[auth] admin_token is not set: llmqd's own URLs and the dashboard open through a unix socket only",
            'set it, for example admin_token = "credential:admin"',
        )
    yield ok("keys", f"{len(usable)} of {len(keys)} client keys can be used; mode {config.auth.mode}")
