"""A strict provider as a process: says its port on its first line, serves, and tells what it counted at /figures."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import uvloop

from bench.queue.server import StrictServer
from tests.fake_upstream import Concurrency, Received, quantised
from tests.fake_upstream.limit_headers import Style
from tests.fake_upstream.limiters import Charging, FixedWindow, Meter, SlidingWindow, TokenBucket, TokenLimit
from tests.fake_upstream.script import Answer, json_answer
from tests.fake_upstream.sized_answers import Lengths
from tests.fake_upstream.strict import Change, Faults, RequestLimit, StrictProvider


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What one provider enforces, shows and does.

    `kind`: how `per_minute` calls are enforced (see `meter`); None is no limit on calls. `tokens`: header name ->
    (charging, kind, tokens a minute). `change`: (seconds from the first call, factor). `lengths`: the shortest and the
    longest answer in tokens. `faults`: the share of calls that fail. `host`: the address to listen on. The rest as in
    StrictProvider.
    """

    kind: str | None = None
    per_minute: float = 600
    tokens: dict[str, tuple[Charging, str, float]] = field(default_factory=dict)
    concurrency: int = 0
    lengths: tuple[int, int] = (20, 20)
    seconds: float = 0.05
    seconds_per_token: float = 0.0
    headers: Style | None = None
    retry_after: bool = True
    faults: float = 0.0
    host: str = "127.0.0.1"
    change: tuple[float, float] | None = None
    seed: int = 1


def meter(kind: str, per_minute: float) -> Meter:
    """A meter by the name of what it does."""
    kinds: dict[str, Meter] = {
        "bucket": TokenBucket(per_minute, burst=per_minute),
        "bucket of 1": TokenBucket(per_minute, burst=1),
        "bucket of 10": TokenBucket(per_minute, burst=10),
        "quantised": quantised(per_minute),
        "fixed": FixedWindow(per_minute),
        "sliding": SlidingWindow(per_minute),
    }
    return kinds[kind]


def provider(spec: Spec) -> StrictProvider:
    """The provider that a spec describes."""
    requests = None
    if spec.kind is not None:
        # Azure's headers count down to the end of the minute; all others show a bucket that holds a minute's calls.
        shown = meter("fixed" if spec.headers == "azure" else "bucket", spec.per_minute)
        requests = RequestLimit(meter(spec.kind, spec.per_minute), spec.per_minute, shown)
    return StrictProvider(
        requests=requests,
        tokens={
            name: (TokenLimit(meter(kind, size), charging), size)
            for name, (charging, kind, size) in spec.tokens.items()
        },
        lengths=Lengths(*spec.lengths, seed=spec.seed),
        seconds=spec.seconds,
        seconds_per_token=spec.seconds_per_token,
        headers=spec.headers,
        retry_after=spec.retry_after,
        explains=spec.headers is not None,
        faults=Faults(spec.faults, spec.seed) if spec.faults else None,
        change=Change(*spec.change) if spec.change is not None else None,
    )


def figures(played: StrictProvider, refused: int = 0, places: Sequence[Sequence[float]] = ()) -> dict[str, Any]:
    """What the bench reads; times are Unix seconds, tokens are (input, output, max_output).

    `places` are the begin and the end of each call that took one of the places of a limit on calls in flight.
    """
    return {
        "began": played.began,
        "refused_at": played.refused,
        "refused": refused + len(played.refused),
        "faulty": played.faulty,
        "accepted": [(at, tokens.input, tokens.output, tokens.max_output) for at, tokens in played.accepted],
        "places": places,
    }


async def main() -> None:
    """Serves until its standard input ends."""
    spec = Spec(**orjson.loads(sys.argv[1]))
    played = provider(spec)

    def script(request: Received) -> Answer:
        if request.path == "/figures":
            return json_answer(figures(played, server.refused, server.played))
        return played(request)

    server = StrictServer(script, Concurrency(spec.concurrency) if spec.concurrency else None, spec.host)
    print(server.port, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)
    server.close()


if __name__ == "__main__":
    gc.freeze()
    gc.disable()  # nothing here makes cycles, and a collection would be charged to whoever calls meanwhile
    uvloop.run(main())
