"""Addresses of Redis: one server, Sentinel, Cluster, TLS; what is wrong with one is told without repeating it."""

from __future__ import annotations

import ssl

import pytest

from llmqd.config.redis_url import RedisUrl


def test_one_server_with_user_password_and_database() -> None:
    url = RedisUrl("redis://us%40er:p%3Aw@cache.example:6380/3")
    assert (url.hosts, url.kind, url.tls) == ([("cache.example", 6380)], "", {})
    assert url.options == {"db": 3, "username": "us@er", "password": "p:w"}


def test_what_is_left_out_is_usual() -> None:
    assert RedisUrl("redis://cache").hosts == [("cache", 6379)]
    assert RedisUrl("redis://:secret@[::1]").hosts == [("::1", 6379)]
    assert RedisUrl("redis://cache").options == {"db": 0}


def test_tls_and_whom_to_trust() -> None:
    assert RedisUrl("rediss://cache?ca_file=/etc/ca.pem").tls == {"ssl": True, "ssl_ca_certs": "/etc/ca.pem"}
    assert RedisUrl("rediss://cache?verify=no").tls["ssl_cert_reqs"] == ssl.CERT_NONE


def test_a_socket() -> None:
    assert RedisUrl("unix:///run/redis/redis.sock").path == "/run/redis/redis.sock"


def test_sentinels_with_the_service_they_watch() -> None:
    url = RedisUrl("redis+sentinel://:pw@one:26380,two/mymaster/1")
    assert url.hosts == [("one", 26380), ("two", 26379)]
    assert (url.kind, url.service, url.options) == ("sentinel", "mymaster", {"db": 1, "password": "pw"})


def test_nodes_of_a_cluster() -> None:
    url = RedisUrl("rediss+cluster://one:7000,two:7001")
    assert (url.kind, url.hosts, url.options) == ("cluster", [("one", 7000), ("two", 7001)], {})
    assert url.tls["ssl"] is True


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://:hush@cache", "must begin with"),
        ("redis://:hush@cache:port", "host:port"),
        ("redis://:hush@cache/zero", "number of a database"),
        ("redis://:hush@cache/0/1", "number of a database"),
        ("redis://:hush@cache?timeout=5", "ca_file and verify"),
        ("redis+sentinel://:hush@one", "name the service"),
        ("redis+cluster://:hush@one/2", "only database 0"),
        ("redis://[:hush@", "not a URL"),
    ],
)
def test_what_is_wrong_is_told_without_the_password(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        RedisUrl(url)
    assert "hush" not in str(caught.value)
