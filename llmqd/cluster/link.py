"""The connection to Redis: found by its URL (one server, Sentinel or Cluster), scripts loaded, messages heard."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from redis.asyncio import Redis, RedisCluster, Sentinel
from redis.asyncio.client import PubSub
from redis.asyncio.cluster import ClusterNode
from redis.exceptions import RedisError

from llmqd.cluster.scripts import BEAT, BUDGETS, GRANT, LEAVE

if TYPE_CHECKING:
    from llmqd.config.redis_url import RedisUrl

FAULTS = (RedisError, OSError, TimeoutError)
"""What going without Redis looks like."""

_PATIENCE = 2.0
"""Seconds that any answer of Redis may take."""


class Link:
    """One connection for what daemons say to each other, others for commands and for messages that are heard, to the
    server that holds the keys of `prefix`.

    What goes wrong raises one of FAULTS; then the link is of no use any more.
    """

    def __init__(self, redis: Redis, pubsub: PubSub, shas: Sequence[str]) -> None:
        self._redis = redis
        self._pubsub = pubsub
        # What is said goes straight through it: the pool and a pipeline cost more than all else on the way.
        self._saying = redis.connection_pool.make_connection()  # type: ignore[no-untyped-call]
        self._free = asyncio.Lock()
        self._beat, self._grant, self._leave, self._budgets = shas

    @classmethod
    async def to(cls, url: RedisUrl, channel: str, prefix: str) -> Link:
        """Connects, and hears what is said on a channel from now on."""
        redis = Redis(**await _address(url, prefix), **url.options, **url.tls, **_timing())
        try:
            shas = [await redis.script_load(script) for script in (BEAT, GRANT, LEAVE, BUDGETS)]
            pubsub = redis.pubsub(ignore_subscribe_messages=False)
            await pubsub.subscribe(channel)
            await pubsub.get_message(timeout=_PATIENCE)
        except BaseException:
            await redis.aclose()
            raise
        return cls(redis, pubsub, shas)

    async def time(self) -> float:
        """Redis's clock, Unix seconds."""
        seconds, micros = await self._redis.time()
        return float(seconds) + float(micros) / 1e6

    async def beat(self, keys: Sequence[str], arguments: Sequence[str | float]) -> Any:
        """See scripts.BEAT."""
        return await self._redis.evalsha(self._beat, len(keys), *keys, *map(str, arguments))

    async def leave(self, keys: Sequence[str], arguments: Sequence[str]) -> None:
        """See scripts.LEAVE."""
        await self._redis.evalsha(self._leave, len(keys), *keys, *arguments)

    async def say(
        self, grants: Sequence[tuple[Sequence[str], Sequence[str | bytes]]], messages: Sequence[tuple[str, bytes]]
    ) -> list[bool]:
        """Runs scripts.GRANT for each of `grants` and sends messages to channels, all in one round trip.

        Gives for each of the grants whether it went through.
        """
        commands = [("EVALSHA", self._grant, len(keys), *keys, *arguments) for keys, arguments in grants]
        commands += [("PUBLISH", *message) for message in messages]
        async with self._free:
            try:
                await self._saying.send_packed_command(self._saying.pack_commands(commands), check_health=False)
                replies = [await self._saying.read_response() for _ in commands]
            except BaseException:  # answers are still to come, and would be taken for those to other commands
                await self._saying.disconnect(nowait=True)
                raise
        return [bool(reply) for reply in replies[: len(grants)]]

    async def budgets(self, calls: Sequence[tuple[Sequence[str], Sequence[str]]]) -> list[Any]:
        """Runs scripts.BUDGETS for each of `calls` (keys and arguments), in their order, in one round trip."""
        pipe = self._redis.pipeline(transaction=False)
        for keys, arguments in calls:
            pipe.evalsha(self._budgets, len(keys), *keys, *arguments)
        return list(await pipe.execute())

    async def written(self, key: str, since: float) -> list[bytes]:
        """What a stream has had since then (Unix seconds)."""
        entries: Any = await self._redis.xrange(key, min=str(int(since * 1000)))
        return [fields[b"g"] for _, fields in entries]

    async def hours(self, key: str) -> dict[bytes, bytes]:
        """The calls of each hour."""
        hours: Any = await self._redis.hgetall(key)
        return dict(hours)

    async def heard(self) -> AsyncIterator[bytes]:
        """What is said on the channel, for as long as the connection lasts."""
        while True:
            message = await self._pubsub.get_message(timeout=None)
            if message is not None and message["type"] == "message":
                yield message["data"]

    async def close(self) -> None:
        """Gives the connections up."""
        with contextlib.suppress(*FAULTS):
            await self._saying.disconnect()
        for part in (self._pubsub, self._redis):
            with contextlib.suppress(*FAULTS):
                await part.aclose()


def _timing() -> dict[str, Any]:
    return {"socket_timeout": None, "socket_connect_timeout": _PATIENCE, "socket_keepalive": True, "retry": None}


async def _address(url: RedisUrl, prefix: str) -> dict[str, Any]:
    """Where the server is that is written to, as Redis() wants it."""
    if url.path is not None:
        return {"unix_socket_path": url.path}
    if url.kind == "sentinel":
        more = {"socket_connect_timeout": _PATIENCE, "socket_timeout": _PATIENCE, **url.tls}
        sentinel = Sentinel(url.hosts, sentinel_kwargs=more)  # type: ignore[no-untyped-call]
        try:
            host, port = await sentinel.discover_master(url.service)
        finally:
            for each in sentinel.sentinels:
                await each.aclose()
        return {"host": host, "port": port}
    if url.kind == "cluster":
        nodes = [ClusterNode(host, port) for host, port in url.hosts]
        cluster = RedisCluster(startup_nodes=nodes, socket_timeout=_PATIENCE, **url.options, **url.tls)
        try:
            await cluster.initialize()
            node = cluster.get_node_from_key(prefix)
            if node is None:
                raise RedisError(f"no node of the Redis Cluster holds {prefix}")
            return {"host": node.host, "port": node.port}
        finally:
            await cluster.aclose()
    host, port = url.hosts[0]
    return {"host": host, "port": port}
