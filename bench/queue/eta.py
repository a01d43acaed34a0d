"""Whether the promised wait is the real one: what callers are told as they come, beside when they had their turn."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import aiohttp
import orjson

from bench.queue.load import Calls, Load
from bench.queue.measures import Measure, quantile
from bench.queue.stage import Stage, staged
from bench.queue.upstream import Spec

_STEADY_AFTER, _SECONDS = 20.0, 55.0
_SHORTEST = 100.0
"""Milliseconds. An error of a wait that nobody notices says nothing."""
_MEDIAN, _P90 = 0.10, 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scene:
    name: str
    spec: Spec
    settings: str
    fair_by: str = "none"
    calls: Calls = field(default_factory=Calls)
    tenants: Sequence[int] = (60,)
    """How many clients each tenant keeps busy."""


_SCENES = (
    _Scene(
        name="calls limited, no fair sharing",
        spec=Spec(kind="bucket", per_minute=1200),
        settings="requests_per_minute = 1200",
    ),
    _Scene(
        name="calls limited, 6 tenants of 1 to 30 clients",
        spec=Spec(kind="bucket", per_minute=1200),
        settings="requests_per_minute = 1200",
        fair_by="user",
        tenants=(1, 2, 4, 8, 15, 30),
    ),
    _Scene(
        name="tokens limited, answers of 1 to 20, no fair sharing",
        spec=Spec(
            tokens={"tokens": ("actual", "sliding", 600_000)}, lengths=(100, 2000), seconds=0.1, seconds_per_token=0.002
        ),
        settings='requests_per_minute = 0\ntokens_per_minute = 600000\nreserve_output = "typical"',
        calls=Calls(prompt_bytes=(200, 4000), max_tokens=(2000, 2000)),
        tenants=(150,),
    ),
)


async def predicted() -> list[Measure]:
    """Error of the predicted wait in each kind of load."""
    return list(await asyncio.gather(*map(_played, _SCENES)))


async def _played(scene: _Scene) -> Measure:
    queue = f'fair_by = "{scene.fair_by}"\n'
    async with staged(scene.spec, scene.settings, queue=queue) as stage:
        watch = _Watch()
        watching = asyncio.create_task(watch.follow(stage.daemon.url))
        try:
            await watch.begun.wait()
            await _load(stage, scene)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
    name = f"ETA, {scene.name}"
    target = f"median ≤ {_MEDIAN:.0%}, p90 ≤ {_P90:.0%}"
    if not watch.errors:
        return Measure(name, "no call waited", target, met=False)
    median, p90 = quantile(watch.errors, 0.5), quantile(watch.errors, 0.9)
    value = f"median {median:.1%}, p90 {p90:.1%} of {len(watch.errors)} waits"
    return Measure(name, value, target, median <= _MEDIAN and p90 <= _P90)


async def _load(stage: Stage, scene: _Scene) -> None:
    loads = []
    for number, clients in enumerate(scene.tenants):
        calls = replace(scene.calls, headers=(("X-LLMQD-User", f"tenant-{number}"),))
        loads.append(Load(stage.daemon.port, calls).run(clients, _SECONDS))
    await asyncio.gather(*loads)


class _Watch:
    """Follows the daemon's events; `errors` are the differences of promised and real waits by the real ones."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.errors: list[float] = []
        self._promised: dict[str, float] = {}
        self._from: float | None = None

    async def follow(self, url: str) -> None:
        """Reads events until it is cancelled."""
        timeout = aiohttp.ClientTimeout(total=None)
        kinds = {"types": "queued,started"}
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"{url}/events", params=kinds) as stream,
        ):
            self.begun.set()
            async for line in stream.content:
                if line.startswith(b"data: "):
                    self._event(orjson.loads(line[6:]))

    def _event(self, event: dict[str, object]) -> None:
        call, now = str(event["request_id"]), asyncio.get_running_loop().time()
        if self._from is None:
            self._from = now + _STEADY_AFTER
        if event["type"] == "queued":
            if now >= self._from and isinstance(event["eta_ms"], float):
                self._promised[call] = event["eta_ms"]
            return
        promised, real = self._promised.pop(call, None), event["queued_ms"]
        if promised is not None and isinstance(real, float) and real >= _SHORTEST:
            self.errors.append(abs(promised - real) / real)
