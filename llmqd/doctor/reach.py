"""Whether each upstream can be reached, is who it says it is, and takes the key."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import aiohttp
from multidict import CIMultiDict

from llmqd.doctor.finding import Finding, fault, ok, warning
from llmqd.errors import UpstreamTimeout, UpstreamUnreachable
from llmqd.outbound import Outbound
from llmqd.providers.operations import operation_of
from llmqd.routing import Target, upstream_url
from llmqd.upstream import UpstreamClient
from llmqd.web.headers import key_header

if TYPE_CHECKING:
    from llmqd.config.model import Config, Key, Upstream

_PATIENCE = 15.0
_LISTS = {"gemini": "/v1beta/models", "ollama": "/api/tags"}
"""Where each dialect lists its models, which costs nothing and needs a key; elsewhere /v1/models."""


@dataclass(slots=True)
class Reached:
    """What came of asking every upstream; `ahead` has by how many seconds the clocks of those that answered are."""

    findings: list[Finding] = field(default_factory=list)
    ahead: dict[str, float] = field(default_factory=dict)


async def look_at_upstreams(config: Config, *, wall: Callable[[], float]) -> Reached:
    """Asks every upstream for its models, with each of its keys, all at once. `wall` is Unix time in seconds."""
    reached = Reached()
    async with UpstreamClient(
        max_header=config.server.max_header, proxy_from_environment=config.server.proxy_from_environment
    ) as client:
        found = await asyncio.gather(
            *(
                _ask(client, upstream, key, wall, reached.ahead)
                for upstream in config.upstreams
                for key in upstream.keys
            )
        )
    reached.findings.extend(found)
    return reached


async def _ask(
    client: UpstreamClient, upstream: Upstream, key: Key, wall: Callable[[], float], ahead: dict[str, float]
) -> Finding:
    about = f"upstream {upstream.name}" if len(upstream.keys) == 1 else f"upstream {upstream.name}/{key.name}"
    if not upstream.base_url:
        return ok(about, "is built in")
    target = Target(_LISTS.get(upstream.dialect, "/v1/models"))
    url = upstream_url(upstream, target, operation_of("GET", target.path), "")
    headers: CIMultiDict[str] = CIMultiDict({"Accept": "application/json", "User-Agent": "llmqd doctor"})
    if key.api_key is not None:
        name, value = key_header(upstream.preset.auth, key.api_key.reveal())
        headers[name] = value
    for name, secret in upstream.headers:
        headers[name] = secret.reveal()
    if upstream.dialect == "anthropic":
        headers.setdefault("anthropic-version", "2023-06-01")
    try:
        async with asyncio.timeout(_PATIENCE):
            answer = await client.send(upstream, Outbound("GET", url, headers), None)
    except (UpstreamUnreachable, UpstreamTimeout, TimeoutError) as error:
        return _unreachable(about, upstream, error)
    status, date = answer.status, answer.headers.get("Date", "")
    answer.close()
    with contextlib.suppress(ValueError):  # it may not say what time it is
        ahead[upstream.name] = parsedate_to_datetime(date).timestamp() - wall()
    return _answered(about, url, status, has_key=key.api_key is not None)


def _answered(about: str, url: str, status: int, *, has_key: bool) -> Finding:
    place = url.partition("?")[0]
    if status in (401, 403) and has_key:
        return fault(
            about,
            f"{place} refuses the key ({status})",
            "check that the key is whole, not revoked, and of this provider",
        )
    if status >= 500:
        return warning(about, f"{place} can be reached and answers {status}", "see the provider's status page")
    if has_key and status < 300:
        return ok(about, f"{place} takes the key")
    if has_key:
        return ok(about, f"{place} can be reached (it answers {status}, which says nothing of the key)")
    return ok(about, f"{place} can be reached; clients show keys of their own, or it wants none")


def _unreachable(about: str, upstream: Upstream, error: BaseException) -> Finding:
    where, chain = upstream.base_url, _chain(error)
    if any(isinstance(each, socket.gaierror) for each in chain):
        return fault(
            about, f"the name of {where} cannot be resolved", "check base_url, the network and DNS (resolvectl query)"
        )
    for each in chain:
        if isinstance(each, aiohttp.ClientError):
            continue  # what lies in it says more
        if isinstance(each, ssl.SSLCertVerificationError):
            return fault(
                about,
                f"the certificate of {where} is not trusted: {each.verify_message}",
                "check the clock; behind a proxy that breaks TLS open, or with a CA of your own, name its certificate"
                " in ca_file",
            )
        if isinstance(each, ssl.SSLError):
            return fault(about, f"no TLS with {where}: {each.reason}", "check whether base_url should begin http://")
        if isinstance(each, ConnectionRefusedError):
            return fault(about, f"nothing listens at {where}", "check host and port of base_url, and that it runs")
    if any(isinstance(each, TimeoutError) for each in chain):
        return fault(
            about,
            f"{where} does not answer in time",
            "a firewall may drop the packets; behind a proxy set [server] proxy_from_environment = true",
        )
    return fault(about, f"{where} cannot be reached: {str(error) or type(error).__name__}", "check the network")


def _chain(error: BaseException) -> list[BaseException]:
    """An error with all its causes, and what lies in aiohttp's own."""
    found: list[BaseException] = []
    step: BaseException | None = error
    while step is not None and step not in found:
        found.append(step)
        inner = getattr(step, "os_error", None) or getattr(step, "certificate_error", None)
        if isinstance(inner, BaseException):
            found.append(inner)
        step = step.__cause__ or step.__context__
    return found
