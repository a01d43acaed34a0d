"""`make test-cluster-faults`: a cluster under load, of which one part after the other fails, with a table of the cost.

Daemons as processes share a real Redis and a real PostgreSQL before a strict upstream; clients keep them busy all the
time. As root, one daemon stands in a network namespace of its own, whose cable to Redis is pulled out. For each fault
the table says how many calls were answered meanwhile, how many failed that need not have (and how many were cut with
the daemon that they ran in), how many the upstream refused, which answered calls the ledger has lost, and how many
seconds it took until calls went at the full rate again, after the fault had begun and after it had ended.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import tempfile
import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

import aiohttp
import asyncpg
import uvloop

from bench.cluster_crowd import Crowd, Target, balanced
from bench.cluster_network import InNamespace, Network, network
from bench.queue.load import fetch
from bench.queue.stage import upstream
from bench.queue.upstream import Spec
from tests.postgres import Postgres
from tests.postgres import server as postgres_server
from tests.process import LlmqdProcess
from tests.redis_server import RedisServer
from tests.redis_server import server as redis_server

_TOML = """
[store]
backend = "postgresql"
dsn = "{dsn}"
[cluster]
redis = "redis://{redis}/0"
members = {members}
[[upstream]]
name = "openai"
base_url = "http://{upstream}"
api_key = "x"
requests_per_minute = {per_minute}
learn = false
[log]
level = "warning"
"""
_PLAIN, _SDK = 8, 2
"""Clients for each daemon, of either kind."""
_FULL, _OVER = 0.9, 2.0
"""Calls go at the full rate when in so many seconds at least this share of it has gone."""
_PATIENCE = 60.0
_CALM = 3.0
"""Seconds for which the end of a fault is watched after all is well."""
_SOON = 5.0
"""Seconds until calls go at the full rate again at the latest when a daemon has died."""


@dataclass
class Stage:
    """Everything that can fail. The daemon that is cut off is the last one."""

    redis: RedisServer
    postgres: Postgres
    dsn: str
    daemons: list[LlmqdProcess]
    targets: list[Target]
    upstream: int
    per_second: float
    net: Network | None
    crowds: list[Crowd] = field(default_factory=list)
    """One of each daemon, and at the end that of the SDK."""
    known: set[str] = field(default_factory=set)
    """Delivered calls that the ledger has."""
    through: int = 0
    """Calls that have gone to the upstream in all, once it is over."""

    async def asked(self, number: int, path: str) -> bytes:
        """What a daemon answers to a GET."""
        target = self.targets[number]
        connector = aiohttp.UnixConnector(str(target)) if isinstance(target, Path) else aiohttp.TCPConnector()
        port = 80 if isinstance(target, Path) else target
        headers = {"Accept": "text/plain"}
        async with (
            aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(5)) as http,
            http.get(f"http://127.0.0.1:{port}{path}", headers=headers) as answer,
        ):
            return await answer.read()

    async def owner(self) -> int:
        """The number of the daemon that decides for the lane."""
        for number in range(len(self.daemons)):
            if b"\nllmqd_cluster_lanes_owned 1.0" in await self.asked(number, "/metrics"):
                return number
        raise AssertionError("no daemon owns the lane")

    async def gone(self) -> tuple[list[float], int]:
        """When calls went through, in the order of time, and how many the upstream has refused."""
        counted = await fetch(self.upstream, "/figures")
        return sorted(each[0] for each in counted["accepted"]), counted["refused"]

    async def refused_at(self) -> list[float]:
        """When the upstream refused calls."""
        return list((await fetch(self.upstream, "/figures"))["refused_at"])

    @property
    def answered(self) -> int:
        """Calls that were answered so far."""
        return sum(len(crowd.delivered) for crowd in self.crowds)

    async def healed(self) -> str:
        """Waits until every daemon is well and calls go at the full rate; what is wrong where that does not come."""
        faults: list[object] = []
        try:
            async with asyncio.timeout(_PATIENCE):
                while True:
                    try:
                        told = [await self.asked(number, "/health") for number in range(len(self.daemons))]
                    except (aiohttp.ClientError, OSError) as error:
                        told = [repr(error).encode()]
                    faults = [each for each in told if b'"status":"ok"' not in each.replace(b" ", b"")]
                    if not faults and self._full((await self.gone())[0], time.time() - _OVER):
                        return ""
                    await asyncio.sleep(0.2)
        except TimeoutError:
            lately = sum(at > time.time() - 10 for at in (await self.gone())[0])
            return f"not well after {_PATIENCE:g} s: {faults}, {lately} calls in 10 s"

    def _full(self, times: Sequence[float], since: float) -> bool:
        return bisect_left(times, since + _OVER) - bisect_left(times, since) >= _FULL * self.per_second * _OVER

    def back(self, times: Sequence[float], since: float, until: float) -> float | None:
        """Seconds from `since` until calls went at the full rate; None where they did not before `until`."""
        at = since
        while at + _OVER <= until:
            if self._full(times, at):
                return at - since
            at += 0.1
        return None

    async def lost(self) -> int:
        """How many answered calls the ledger does not know, once it has caught up."""
        delivered = {each for crowd in self.crowds for each in crowd.delivered} - self.known
        connection = await asyncpg.connect(self.dsn, timeout=20)
        try:
            until = time.monotonic() + _PATIENCE
            while delivered and time.monotonic() < until:
                rows = await connection.fetch(
                    "SELECT id FROM calls WHERE status = 'done' AND id = ANY($1::text[])", list(delivered)
                )
                found = {row["id"] for row in rows}
                self.known |= found
                delivered -= found
                await asyncio.sleep(0.3)
        finally:
            await connection.close()
        return len(delivered)


async def _kill(stage: Stage, hold: float, number: int) -> None:
    await stage.daemons[number].kill()
    await asyncio.sleep(hold)


async def _stopped(stage: Stage, hold: float, number: int) -> None:
    stage.daemons[number].signal(signal.SIGSTOP)
    await asyncio.sleep(hold)
    stage.daemons[number].signal(signal.SIGCONT)


async def _redis_killed(stage: Stage, hold: float, number: int) -> None:
    stage.redis.kill()
    await asyncio.sleep(hold)
    await asyncio.to_thread(stage.redis.start)


async def _postgres_killed(stage: Stage, hold: float, number: int) -> None:
    await asyncio.to_thread(stage.postgres.kill)
    await asyncio.sleep(hold)
    await asyncio.to_thread(stage.postgres.start)


async def _cut(stage: Stage, hold: float, number: int) -> None:
    assert stage.net is not None
    await asyncio.to_thread(stage.net.cut)
    await asyncio.sleep(hold)
    await asyncio.to_thread(stage.net.mend)


@dataclass(frozen=True)
class Fault:
    """`apply` does it to a daemon for so many seconds, and ends it but for a daemon that is dead. `of` says to which:
    the one that owns the lane, another one, or the last one, which has a network of its own."""

    name: str
    apply: Callable[[Stage, float, int], Awaitable[None]]
    seconds: float
    of: str = "owner"
    kills: bool = False


FAULTS = (
    Fault("kill -9 of the lane's owner", _kill, 20, kills=True),
    Fault("kill -9 of another daemon", _kill, 20, of="other", kills=True),
    Fault("SIGSTOP of the lane's owner", _stopped, 30),
    Fault("SIGSTOP of another daemon", _stopped, 30, of="other"),
    Fault("Redis killed, back empty", _redis_killed, 30),
    Fault("network to Redis cut for one", _cut, 60, of="last"),
    Fault("PostgreSQL killed", _postgres_killed, 60),
)


@dataclass(frozen=True)
class Cost:
    """What a fault has cost. `cut` are calls that failed with the daemon that they ran in, `failed` all others.

    `full` is after how many seconds calls went at the full rate, `after` the same from its end on; None: not at all.
    """

    name: str
    seconds: float
    answered: int
    failed: int
    cut: int
    refused: int
    lost: int
    full: float | None
    after: float | None
    kills: bool
    wrong: str = ""

    def __str__(self) -> str:
        full, after = (f"{each:.1f}" if each is not None else "-" for each in (self.full, self.after))
        return (
            f"{self.name:30} {self.seconds:4.0f} {self.answered:9} {self.failed:7} {self.cut:5} {self.refused:5}"
            f" {self.lost:5} {full:>7} {after:>7}  {self.wrong}".rstrip()
        )


HEAD = (
    f"{'FAULT':30} {'s':>4} {'ANSWERED':>9} {'FAILED':>7} {'(CUT)':>5} {'429':>5} {'LOST':>5}"
    f" {'FULL s':>7} {'AFTER s':>7}"
)


async def cost(stage: Stage, fault: Fault, seconds: float, *, patient: bool) -> Cost:
    """Applies one fault and says what came of it."""
    wrong = [await stage.healed()]
    await asyncio.sleep(0 if patient else _OVER)
    owner, last = await stage.owner(), len(stage.daemons) - 1
    number = {"owner": owner, "other": (owner + 1) % len(stage.daemons), "last": last}[fault.of]
    _, refused = await stage.gone()
    answered, failed = stage.answered, [crowd.failed.total() for crowd in stage.crowds]
    began = time.time()
    await fault.apply(stage, seconds, number)
    ended = time.time()
    if fault.kills:
        await _started(stage.daemons[number])
    wrong.append(await stage.healed())
    await asyncio.sleep(_OVER if patient else _CALM)
    times, refused_by_now = await stage.gone()
    lost = await stage.lost()
    fails = [crowd.failed.total() - known for crowd, known in zip(stage.crowds, failed, strict=True)]
    cut = fails[number] if fault.kills else 0
    full, after = stage.back(times, began, ended), stage.back(times, ended, time.time())
    if sum(fails) > cut:
        wrong.append(f"calls failed: {[each for crowd in stage.crowds for each in crowd.examples.values()]}")
    if refused_by_now > refused:
        wrong.append(f"refused {', '.join(f'{at - began:.2f}' for at in (await stage.refused_at()) if at >= began)} s")
    if lost:
        wrong.append("calls lost")
    if fault.kills and not patient and (full is None or full > _SOON):
        wrong.append("not soon at the full rate")
    return Cost(
        fault.name, seconds, stage.answered - answered, sum(fails) - cut, cut, refused_by_now - refused, lost, full,
        after, fault.kills, "; ".join(filter(None, wrong)),
    )  # fmt: skip


@asynccontextmanager
async def staged(directory: Path, *, daemons: int, per_second: float, kind: str) -> AsyncIterator[Stage]:
    """A cluster under load."""
    async with AsyncExitStack() as stack:
        net = stack.enter_context(network())
        spec = Spec(kind=kind, per_minute=per_second * 60, host="0.0.0.0" if net else "127.0.0.1")
        port = await upstream(stack, spec, directory / "upstream.log")
        postgres = stack.enter_context(postgres_server())
        more = ("--bind", "127.0.0.1", net.redis, "--protected-mode", "no") if net else ()
        redis = stack.enter_context(redis_server(directory, *more))
        stage = Stage(redis, postgres, postgres.database(), [], [], port, per_second, net)
        for number in range(daemons):
            (own := directory / str(number)).mkdir()
            (own / "state").mkdir(mode=0o700)
            (own / "state" / "secret").write_bytes(b"the same of all in a trial only!")
            apart = net if number == daemons - 1 else None
            toml = _TOML.format(
                dsn=stage.dsn,
                redis=f"{apart.redis if apart else '127.0.0.1'}:{redis.port}",
                members=daemons,
                upstream=f"{apart.others if apart else '127.0.0.1'}:{port}",
                per_minute=round(per_second * 60),
            )
            one = InNamespace(own, toml, apart.name) if apart else LlmqdProcess(own, toml)
            stage.daemons.append(one)
            stage.targets.append(one.socket if isinstance(one, InNamespace) else one.port)
            stage.crowds.append(Crowd(f"daemon {number}"))
        stage.crowds.append(Crowd("SDK"))
        stack.push_async_callback(_killed, stage.daemons)
        await _started(stage.daemons[0])  # makes the tables
        await asyncio.gather(*map(_started, stage.daemons[1:]))
        balancer = await stack.enter_async_context(balanced(stage.targets))
        clients = [
            asyncio.create_task(crowd.plainly(target))
            for crowd, target in zip(stage.crowds, stage.targets, strict=False)
            for _ in range(_PLAIN)
        ]
        clients += [asyncio.create_task(stage.crowds[-1].by_sdk(balancer)) for _ in range(_SDK * daemons)]
        try:
            yield stage
            for crowd in stage.crowds:
                crowd.over = True
            await asyncio.wait(clients, timeout=_PATIENCE)
        finally:
            for client in clients:
                client.cancel()
            outcomes = await asyncio.gather(*clients, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
        stage.through = len((await stage.gone())[0])


async def _started(daemon: LlmqdProcess) -> None:
    await daemon.start(ready=False)
    await daemon.told("READY=1", within=_PATIENCE)


async def _killed(daemons: Sequence[LlmqdProcess]) -> None:
    for daemon in daemons:
        if daemon.running:
            daemon.signal(signal.SIGCONT)
            await daemon.kill()


async def main(
    directory: Path,
    *,
    only: Sequence[str],
    part: float,
    least: float,
    patient: bool,
    daemons: int,
    per_second: float,
    kind: str,
) -> bool:
    """Prints the table; whether nothing was wrong."""
    costs: list[Cost] = []
    print(HEAD, flush=True)
    async with staged(directory, daemons=daemons, per_second=per_second, kind=kind) as stage:
        for fault in FAULTS:
            if not any(fnmatchcase(fault.name, one) for one in only) or (fault.of == "last" and stage.net is None):
                continue
            costs.append(await cost(stage, fault, max(fault.seconds * part, least), patient=patient))
            print(costs[-1], flush=True)
    cut = sum(each.cut + each.failed for each in costs)
    again = _SDK * daemons * sum(each.kills for each in costs)
    twice = max(stage.through - stage.answered - cut - again, 0)
    print(f"{stage.through} calls went to the upstream, {stage.answered} were answered: {twice} were sent twice")
    good = not twice and not any(each.wrong for each in costs)
    if not good:
        for daemon in stage.daemons:
            print("\n".join(f"{daemon.directory.name}: {line[:300]}" for line in daemon.log.read_text().splitlines()))
    return good


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make test-cluster-faults", description=(__doc__ or "").partition("\n\n")[2])
    parser.add_argument("--part", type=float, default=1.0, help="so much of the usual length of each fault")
    parser.add_argument("--least", type=float, default=5.0, help="but so many seconds at least")
    parser.add_argument("--patient", action="store_true", help="judge nothing by the time that it took")
    parser.add_argument("--only", nargs="*", default=["*"], metavar="PATTERN", help="only faults whose name fits")
    parser.add_argument("--daemons", type=int, default=4)
    parser.add_argument("--load", type=float, default=20.0, help="calls a second that the upstream allows")
    parser.add_argument("--kind", default="bucket of 1", help="how the upstream counts: bucket, fixed, sliding, ...")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="llmqd-cluster-") as temporary:
        ok = uvloop.run(
            main(
                Path(temporary), only=given.only, part=given.part, least=given.least, patient=given.patient,
                daemons=given.daemons, per_second=given.load, kind=given.kind,
            )
        )  # fmt: skip
    raise SystemExit(0 if ok else 1)
