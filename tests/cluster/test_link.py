"""The way to Redis by every kind of URL, each to real servers: TLS with a password, Sentinel, Cluster."""

from __future__ import annotations

import asyncio
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis.exceptions import RedisError

from llmqd.cluster.link import FAULTS, Link
from llmqd.config.redis_url import RedisUrl
from tests.redis_server import RedisServer

PREFIX = "{llmqd}"
_HIGHEST = 55535
"""Ports above leave no room for the one of the cluster bus, which is 10000 further on."""


async def works(url: str) -> None:
    """Connects, hears what is said on its channel, and runs a script on keys of the prefix."""
    link = await Link.to(RedisUrl(url), f"{PREFIX}:to:me", PREFIX)
    try:
        assert abs(await link.time() - time.time()) < 60
        keys = [f"{PREFIX}:{name}" for name in ("members", "owners", "tokens")]
        *_, known, there, silent, owners = await link.beat(keys, ["me", 2.5, 1.0, f"{PREFIX}:to:", 300, "openai", ""])
        assert (known, there, silent, owners) == (0, [b"me"], [], [b"me|1"])
        await link.say([], [(f"{PREFIX}:to:me", b"hello")])
        async with asyncio.timeout(5):
            assert await anext(aiter(link.heard())) == b"hello"
    finally:
        await link.close()


async def until_works(url: str, within: float = 20.0) -> None:
    end = time.monotonic() + within
    while True:
        try:
            await works(url)
        except FAULTS:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.2)
        else:
            return


def certificate(directory: Path) -> tuple[Path, Path]:
    cert, key = directory / "cert.pem", directory / "key.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
            "-addext", "subjectAltName=IP:127.0.0.1", "-out", cert, "-keyout", key,
        ],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    return cert, key


async def test_tls_with_a_password(tmp_path: Path, redis: RedisServer) -> None:
    cert, key = certificate(tmp_path)
    with ExitStack() as stack:
        secure = RedisServer(tmp_path)
        secure.more = (
            "--port", "0", "--tls-port", str(secure.port), "--tls-cert-file", str(cert), "--tls-key-file", str(key),
            "--tls-ca-cert-file", str(cert), "--tls-auth-clients", "no", "--requirepass", "s3cret",
        )  # fmt: skip
        secure.start()
        stack.callback(secure.kill)
        place = f"127.0.0.1:{secure.port}/0"
        await works(f"rediss://:s3cret@{place}?ca_file={cert}")
        await works(f"rediss://:s3cret@{place}?verify=no".replace("/0", "/1"))
        with pytest.raises(RedisError):
            await works(f"rediss://:wrong@{place}?ca_file={cert}")
        with pytest.raises(FAULTS):
            await works(f"rediss://:s3cret@{place}")  # nobody vouches for the certificate


async def test_sentinel_says_where_the_master_is(tmp_path: Path, redis: RedisServer) -> None:
    config = tmp_path / "sentinel.conf"
    sentinel = RedisServer(tmp_path, "--sentinel")
    config.write_text(
        f"port {sentinel.port}\nbind 127.0.0.1\ndir {tmp_path}\nsentinel monitor main 127.0.0.1 {redis.port} 1\n"
    )
    sentinel.arguments = [str(config)]
    sentinel.start()
    try:
        await until_works(f"redis+sentinel://127.0.0.1:{sentinel.port}/main")
        with pytest.raises(FAULTS):
            await works(f"redis+sentinel://127.0.0.1:{sentinel.port}/other")
    finally:
        sentinel.kill()


async def test_the_node_of_a_cluster_that_holds_the_prefix(tmp_path: Path, redis: RedisServer) -> None:
    with ExitStack() as stack:
        nodes = []
        for number in range(3):
            (directory := tmp_path / str(number)).mkdir()
            node = RedisServer(directory, "--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf")
            while node.port > _HIGHEST:
                node = RedisServer(directory, *node.more)
            node.start()
            stack.callback(node.kill)
            nodes.append(node)
        places = [f"127.0.0.1:{node.port}" for node in nodes]
        redis.cli("--cluster", "create", *places, "--cluster-yes")
        await until_works(f"redis+cluster://{','.join(places)}")
        holding = [node for node in nodes if PREFIX in node.cli("keys", "*")]
        assert len(holding) == 1


async def test_what_is_given_up_leaves_no_answer_for_what_is_said_next(redis: RedisServer) -> None:
    link = await Link.to(RedisUrl(redis.url), f"{PREFIX}:to:me", PREFIX)
    try:
        keys = [f"{PREFIX}:{name}" for name in ("members", "owners", "tokens")]
        await link.beat(keys, ["me", 2.5, 1.0, f"{PREFIX}:to:", 300, "openai", ""])
        grant = [*keys[:2], f"{PREFIX}:past", f"{PREFIX}:hours"]
        mine, gone = ((grant, ["openai", "me", token, "", "60", "0"]) for token in "17")
        for _ in range(5):
            given_up = asyncio.ensure_future(link.say([mine, mine], []))
            await asyncio.sleep(0)
            given_up.cancel()
            answers = await asyncio.gather(link.say([gone, mine], []), link.say([mine, gone], []))
            assert list(answers) == [[False, True], [True, False]]
    finally:
        await link.close()
