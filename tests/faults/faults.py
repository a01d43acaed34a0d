"""Everything that goes wrong around a daemon: each fault is applied under load, and lifted."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, closing, suppress
from dataclasses import dataclass

from tests.faults import attacks
from tests.faults.hostile import ENDLESS, HOSTILE
from tests.faults.inject import available
from tests.faults.stage import Stage

Applied = Callable[[Stage], Awaitable[None]]
"""Applies a fault, lets it last, lifts it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """`excuses` are the kinds of failure of a call of the load that the fault itself makes unavoidable."""

    name: str
    applied: Applied
    excuses: frozenset[str] = frozenset()


FAULTS: list[Fault] = []


def fault(name: str, *, excuses: tuple[str, ...] = (), needs: bool = True) -> Callable[[Applied], Applied]:
    """Enters a fault in the list, in the order in which they stand here; unless this machine lacks what it `needs`."""

    def enter(applied: Applied) -> Applied:
        if needs:
            FAULTS.append(Fault(name, applied, frozenset(excuses)))
        return applied

    return enter


async def _again_and_again(stage: Stage, once: Callable[[], Awaitable[None]]) -> None:
    loop = asyncio.get_running_loop()
    until = loop.time() + stage.hold
    while True:
        await once()
        if loop.time() >= until:
            return
        await asyncio.sleep(0.1)


async def _refused(stage: Stage, requests: tuple[bytes, ...], *, never: str) -> None:
    """Sends them for as long as a fault lasts: no answer of 500, and nothing that holds `never` went upstream."""
    heads = len(stage.upstream.requests)

    async def once() -> None:
        statuses = await attacks.send_all(stage.process.port, requests)
        assert statuses
        assert not [status for status in statuses if status == 500], statuses

    await _again_and_again(stage, once)
    through = [each for each in stage.upstream.requests[heads:] if never in each.target or each.header("X-Injected")]
    assert not through, through
    stage.upstream.requests.clear()


@fault("none")
async def none(stage: Stage) -> None:
    await asyncio.sleep(stage.hold)


@fault("header injection")
async def header_injection(stage: Stage) -> None:
    await _refused(stage, attacks.INJECTIONS, never="X-Injected")


@fault("request smuggling")
async def request_smuggling(stage: Stage) -> None:
    await _refused(stage, attacks.SMUGGLING, never="smuggled")


@fault("paths")
async def paths(stage: Stage) -> None:
    await _refused(stage, attacks.PATHS, never="evil.test")


@fault("oversized, endless headers")
async def oversized_headers(stage: Stage) -> None:
    await _refused(stage, attacks.OVERSIZED, never="aaaaaaaaaa")
    taken = await asyncio.gather(*(attacks.endless_header(stage.process.port, 5) for _ in range(20)))
    assert max(taken) < 8 << 20, f"{max(taken)} bytes of one head were taken"


@fault("clients that send slowly")
async def slow_senders(stage: Stage) -> None:
    before = stage.descriptors
    async with AsyncExitStack() as stack:
        for begun in attacks.SLOW:
            await stack.enter_async_context(attacks.connections(stage.process.port, 50, begun))
        await asyncio.sleep(6.5)  # client_timeout is 4 s
        after, calls = stage.descriptors, 3 * stage.load.under_way  # a client's, an upstream's, a file's
        assert after < before + calls + 150, f"{after} descriptors are held, {before} before, for 200 clients"


@fault("clients that read nothing")
async def slow_readers(stage: Stage) -> None:
    before = stage.memory
    async with attacks.connections(stage.process.port, 30, attacks.LARGE_CALL, reading=False):
        await asyncio.sleep(2)
        # [store] capture_max, 4 MiB, bounds what is kept of each for its text
        assert stage.memory - before < 250, f"{stage.memory - before:.0f} MiB for 30 answers that nobody reads"
        await asyncio.sleep(6)


@fault("hostile upstream answers")
async def hostile_upstream(stage: Stage) -> None:
    before = stage.memory

    async def ask(model: str) -> None:
        status, body = await stage.ask(model, within=3.0 if model in ENDLESS else 30.0)
        assert status not in (500,), (model, status, body[:200])

    await asyncio.gather(*map(ask, HOSTILE))
    assert stage.memory - before < 250, f"{stage.memory - before:.0f} MiB more"


@fault("upstream gone", excuses=("502", "cut"))
async def upstream_gone(stage: Stage) -> None:
    await stage.upstream.stop()
    await asyncio.sleep(stage.hold)
    await stage.upstream.__aenter__()


@fault("name resolution fails", needs=available())
async def no_names(stage: Stage) -> None:
    with stage.injection.no_names():
        status, body = await stage.ask("gpt-4o", upstream="named")
        assert (status, b"upstream_unreachable" in body) == (502, True), (status, body)
        await asyncio.sleep(stage.hold)
    assert (await stage.ask("gpt-4o", upstream="named"))[0] == 200


@fault("upstream with another certificate")
async def wrong_certificate(stage: Stage) -> None:
    assert (await stage.ask("gpt-4o", upstream="trusted"))[0] == 200
    right = stage.trusted._tls
    await stage.trusted.stop()
    stage.trusted._tls = stage.other_certificate
    await stage.trusted.__aenter__()
    status, body = await stage.ask("gpt-4o", upstream="trusted")
    assert (status, b"certificate" in body) == (502, True), (status, body)
    await asyncio.sleep(stage.hold)
    await stage.trusted.stop()
    stage.trusted._tls = right
    await stage.trusted.__aenter__()
    assert (await stage.ask("gpt-4o", upstream="trusted"))[0] == 200


@fault("idle connections")
async def idle_connections(stage: Stage) -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = min(10_000 if stage.hold > 1 else 1_000, most // 2 - 500)
    before = stage.memory
    async with attacks.connections(stage.process.port, wanted):
        stage.notes.append(f"{wanted} idle connections: {stage.memory - before:+.0f} MiB")
        await asyncio.sleep(stage.hold)
        assert (await stage.ask("gpt-4o"))[0] == 200


@fault("no file descriptors", excuses=("502", "cut", "refused", "silent"))
async def no_descriptors(stage: Stage) -> None:
    before = resource.prlimit(stage.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(stage.process.pid, resource.RLIMIT_NOFILE, (stage.descriptors + 40, before[1]))
    try:
        async with attacks.connections(stage.process.port, 100):
            await stage.says("raise LimitNOFILE=", within=20)
            await asyncio.sleep(stage.hold)
    finally:
        resource.prlimit(stage.process.pid, resource.RLIMIT_NOFILE, before)


@fault("disk full")
async def disk_full(stage: Stage) -> None:
    if not stage.mounted:
        with stage.injection.disk(errno.ENOSPC):
            await stage.says("store:")
            await asyncio.sleep(stage.hold)
        return
    filler = stage.state / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    try:
        await stage.says("store:", within=20)
        await asyncio.sleep(stage.hold)
    finally:
        filler.unlink()


@fault("read-only disk", needs=available())
async def read_only(stage: Stage) -> None:
    with stage.injection.disk(errno.EROFS):
        await stage.says("store:")
        await asyncio.sleep(stage.hold)


@fault("disk errors", needs=available())
async def broken_disk(stage: Stage) -> None:
    with stage.injection.disk(errno.EIO):
        await stage.says("store:")
        await asyncio.sleep(stage.hold)


@fault("database locked by another")
async def locked(stage: Stage) -> None:
    with closing(
        sqlite3.connect(stage.state / "llmqd.db", timeout=30, isolation_level=None, check_same_thread=False)
    ) as other:
        await asyncio.to_thread(other.execute, "BEGIN IMMEDIATE")
        await stage.says("store:", within=30)
        await asyncio.sleep(stage.hold)
        other.execute("ROLLBACK")


@fault("damaged database")
async def damaged_database(stage: Stage) -> None:
    assert not await stage.lost()
    stage.load.delivered.clear()  # they are in the file that is set aside now
    database = stage.state / "llmqd.db"

    async def noticed() -> None:
        while not list(stage.state.glob("llmqd.db.corrupt-*")):
            with suppress(FileNotFoundError), database.open("r+b") as file:  # it is set aside this very moment
                file.write(os.urandom(database.stat().st_size))  # again, as what is in memory may be written over it
            async with stage.web.get(f"{stage.process.url}/api/v1/sessions") as answer:
                await answer.read()
            await asyncio.sleep(0.1)
        await stage.says("damaged database was set aside", within=30)

    try:
        await asyncio.wait_for(noticed(), 60)
        await asyncio.sleep(stage.hold)
        assert list(stage.state.glob("llmqd.db.corrupt-*"))
    finally:
        for path in stage.state.glob("llmqd.db.corrupt-*"):
            path.unlink()


@fault("torn journal after kill -9", excuses=("refused", "cut"))
async def torn_journal(stage: Stage) -> None:
    await stage.process.kill()
    last = max((stage.state / "journal").glob("*.journal"))
    with last.open("ab") as file:
        file.write(b"00000000 {not a line}\n" + os.urandom(300) + b'\n12345678 {"half":')
    await stage.process.start()
    async with asyncio.timeout(60):  # it is read once the database has all that stands before it
        while not stage.process.logged(r"set aside in .*\.bad"):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.1)
    assert list((stage.state / "journal").glob("*.bad"))


@fault("kill -9", excuses=("refused", "cut"))
async def killed(stage: Stage) -> None:
    await stage.restart()


@fault("clock an hour ahead", needs=available())
async def clock_ahead(stage: Stage) -> None:
    with stage.injection.clock(3600):
        await asyncio.sleep(stage.hold)
        assert (await stage.ask("gpt-4o"))[0] == 200


@fault("clock a day back", needs=available())
async def clock_back(stage: Stage) -> None:
    with stage.injection.clock(-86400):
        await asyncio.sleep(stage.hold)
        assert (await stage.ask("gpt-4o"))[0] == 200


@fault("large bodies, memory limit of the unit")
async def large_bodies(stage: Stage) -> None:
    before, most = stage.memory, 0.0
    body = b'{"model":"gpt-4o","messages":[{"role":"user","content":"' + b"a" * (8 << 20) + b'"}]}'
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    asked = head + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body
    sending = asyncio.create_task(attacks.send_all(stage.process.port, [asked] * 24, within=30))
    while not sending.done():
        most = max(most, stage.memory)
        await asyncio.sleep(0.05)
    statuses = sending.result()
    assert statuses.count(200) == 24, statuses
    stage.notes.append(f"24 bodies of 8 MiB at once: {most - before:+.0f} MiB at most")
    assert most < 1024
