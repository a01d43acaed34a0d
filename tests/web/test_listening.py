"""Listeners: unix sockets, several addresses, and clear words when an address is taken."""

from __future__ import annotations

import asyncio
import socket
import stat
from pathlib import Path

import pytest
from aiohttp import web

from llmqd.config.address import Address
from llmqd.errors import ListenError
from llmqd.web.listening import Listening


def listening(*addresses: Address) -> Listening:
    return Listening(web.Application(), addresses, grace=1, max_header=65536)


async def test_several_addresses_and_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "run" / "llmqd.sock"
    async with listening(Address("127.0.0.1", 0), Address("::1", 0), Address(path=str(path))) as open_now:
        kinds = [address.rpartition(":")[0] for address in open_now.addresses]
        assert kinds[:2] == ["http://127.0.0.1", "http://[::1]"]
        assert open_now.addresses[2] == f"unix:{path}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 404")
        writer.close()


async def test_a_taken_port_names_the_address_and_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenError, match=rf"127\.0\.0\.1:{port}: another program .* \[server\] listen"):
            async with listening(Address("127.0.0.1", port)):
                pytest.fail("nothing may listen there")


async def test_a_dead_socket_file_is_replaced_but_a_plain_file_is_not(tmp_path: Path) -> None:
    path = tmp_path / "llmqd.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with listening(Address(path=str(path))):
        assert path.is_socket()
    plain = tmp_path / "plain"
    plain.write_text("precious")
    with pytest.raises(ListenError):
        async with listening(Address(path=str(plain))):
            pytest.fail("nothing may listen there")
    assert plain.read_text() == "precious"


async def test_a_socket_on_which_somebody_listens_is_not_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "llmqd.sock"
    with socket.socket(socket.AF_UNIX) as alive:
        alive.bind(str(path))
        alive.listen()
        with pytest.raises(ListenError, match="another program"):
            async with listening(Address(path=str(path))):
                pytest.fail("nothing may listen there")
    assert path.is_socket()


async def test_an_address_of_another_machine_is_named() -> None:
    with pytest.raises(ListenError, match="no such address"):
        async with listening(Address("192.0.2.1", 8080)):
            pytest.fail("nothing may listen there")
