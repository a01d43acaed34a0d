"""Listeners: unix sockets, several addresses, and clear words when an address is taken."""

from __future__ import annotations

import asyncio
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web

from llmqd.config.address import Address
from llmqd.errors import ListenError
from llmqd.systemd import Notifier, PassedSocket
from llmqd.web.listening import Listening


def listening(
    *addresses: Address, notifier: Notifier | None = None, passed: list[PassedSocket] | None = None
) -> Listening:
    return Listening(
        web.Application(), addresses, grace=1, max_header=65536, notifier=notifier or Notifier({}), passed=passed or []
    )


class Systemd:
    """What systemd keeps of the sockets that it is given, by name."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(str(self._path))
        self._given: list[socket.socket] = []
        self.forgotten: list[str] = []

    def notifier(self) -> Notifier:
        return Notifier({"NOTIFY_SOCKET": str(self._path)})

    def handed_over(self) -> list[PassedSocket]:
        """What it hands to the next process."""
        kept: list[PassedSocket] = []
        while True:
            try:
                said, files, _, _ = socket.recv_fds(self._socket, 4096, 4)
            except BlockingIOError:
                return kept
            state, _, name = said.decode().partition("\nFDNAME=")
            if state == "FDSTOREREMOVE=1":
                self.forgotten.append(name)
            given = [socket.socket(fileno=number) for number in files]
            self._given += given
            kept += [PassedSocket(each, name) for each in given]

    def close(self) -> None:
        for each in (*self._given, self._socket):
            each.close()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    manager = Systemd(tmp_path)
    yield manager
    manager.close()


async def status(address: str) -> str:
    """The first line that somebody gets who asks there."""
    kind, _, where = address.partition(":")
    if kind == "unix":
        reader, writer = await asyncio.open_unix_connection(where)
    else:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer.partition(b"\r\n")[0].decode()


async def test_who_connects_between_two_processes_waits_for_the_second(systemd: Systemd) -> None:
    address, notifier = Address("127.0.0.1", 0), systemd.notifier()
    async with listening(address, notifier=notifier) as first:
        where = first.addresses[0]
    kept = systemd.handed_over()
    assert len(kept) == 1
    asked = asyncio.create_task(status(where))
    await asyncio.sleep(0)
    async with listening(address, notifier=notifier, passed=kept) as second:
        assert second.addresses == [where]
        assert await asked == "HTTP/1.1 404 Not Found"
    assert systemd.handed_over() == []
    notifier.close()


async def test_a_unix_socket_is_taken_over_as_well(systemd: Systemd, tmp_path: Path) -> None:
    address, notifier = Address(path=str(tmp_path / "llmqd.sock")), systemd.notifier()
    async with listening(address, notifier=notifier):
        kept = systemd.handed_over()
    async with listening(address, notifier=notifier, passed=kept) as second:
        assert await status(second.addresses[0]) == "HTTP/1.1 404 Not Found"
    notifier.close()


async def test_a_unix_socket_whose_file_is_gone_is_opened_anew(systemd: Systemd, tmp_path: Path) -> None:
    path = tmp_path / "llmqd.sock"
    address, notifier = Address(path=str(path)), systemd.notifier()
    async with listening(address, notifier=notifier):
        kept = systemd.handed_over()
    path.unlink()
    async with listening(address, notifier=notifier, passed=kept) as second:
        assert await status(second.addresses[0]) == "HTTP/1.1 404 Not Found"
        assert len(systemd.handed_over()) == 1
    assert systemd.forgotten == [kept[0].name]
    notifier.close()


async def test_an_address_that_is_not_wanted_any_more_is_let_go(systemd: Systemd) -> None:
    notifier = systemd.notifier()
    async with listening(Address("127.0.0.1", 0), notifier=notifier):
        kept = systemd.handed_over()
    async with listening(Address("::1", 0), notifier=notifier, passed=kept) as second:
        assert second.addresses[0].startswith("http://[::1]:")
        assert kept[0].listener.fileno() == -1
        systemd.handed_over()
        assert systemd.forgotten == [kept[0].name]
    notifier.close()


async def test_a_socket_unit_stands_in_for_every_port_but_not_for_unix_sockets(
    systemd: Systemd, tmp_path: Path
) -> None:
    path, notifier = tmp_path / "llmqd.sock", systemd.notifier()
    of_unit = socket.create_server(("127.0.0.1", 0))
    of_unit.setblocking(False)
    taken = of_unit.getsockname()[1]
    wanted = Address("127.0.0.1", taken), Address(path=str(path))
    async with listening(*wanted, notifier=notifier, passed=[PassedSocket(of_unit, "llmqd.socket")]) as open_now:
        assert open_now.addresses == [f"http://127.0.0.1:{taken}", f"unix:{path}"]
        assert [await status(each) for each in open_now.addresses] == ["HTTP/1.1 404 Not Found"] * 2
    notifier.close()


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
    with pytest.raises(ListenError, match="a file that is no socket"):
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
