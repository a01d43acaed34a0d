"""What `make bench-queue` plays: one row a kind of upstream, with the daemon's settings and what must come out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from bench.queue.load import Calls
from bench.queue.upstream import Spec
from tests.fake_upstream.limit_headers import Style
from tests.fake_upstream.limiters import Charging

KINDS = ("bucket", "bucket of 1", "quantised", "fixed", "sliding")
EXACT = ("bucket of 1", "quantised")
"""Kinds that judge a call to the millisecond."""
MINUTES = 2, 9
"""Minutes of the steady part, in the short form and in the long one; rows that learn need more before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What must come out. None is not judged. `settled` is in seconds from the first 429 after the limit changed; only
    429s before that count as `refused` then. `utilisation` is the least; `per_minute` what the rate must be, within one
    in a hundred."""

    refused: int = 0
    client_errors: int = 0
    utilisation: float | None = None
    per_minute: float | None = None
    settled: float | None = None

    def __str__(self) -> str:
        parts = [f"≤ {self.refused} upstream 429" if self.refused else "0 upstream 429"]
        if self.settled is not None:
            parts = [f"settled ≤ {self.settled:g} s"]
        parts.append(f"{self.client_errors} client errors")
        if self.utilisation is not None:
            parts.append(f"≥ {self.utilisation:g}")
        if self.per_minute is not None:
            parts.append(f"{self.per_minute:,.0f}/min ± 1 %")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One upstream, one daemon, its clients. `settings` stand in its [[upstream]]; `type` is what that speaks.

    Utilisation is measured over `minutes` that begin `steady_after` seconds after the first call or a little later.
    """

    name: str
    spec: Spec
    settings: str
    target: Target
    type: str = "openai"
    calls: Calls = field(default_factory=Calls)
    clients: int = 60
    steady_after: float = 10.0
    minutes: float = 2

    @property
    def seconds(self) -> float:
        """How long the clients call."""
        return self.steady_after + self.minutes * 60 + _ROOM


@dataclass(frozen=True, slots=True)
class Wave:
    """Rows that run side by side."""

    name: str
    rows: list[Row]


_ROOM = 1.0
"""Seconds by which the first call may come late without a whole minute of the steady part being lost."""
_UNTIL_HALVED = 60.0
QUIET = 30.0
"""Seconds without a 429 after which a lane counts as settled."""
_ANTHROPIC = Calls(path="/v1/messages", model="claude-sonnet-4-5")


def waves(*, long: bool) -> list[Wave]:
    """Everything, in the order in which it is played.

    The machine's own lateness is charged to whoever is measured, so those who are judged to the millisecond have little
    company, and the fast one has none.
    """
    minutes = MINUTES[long]
    right, learned = list(_configured(minutes)), list(_learned(minutes))
    halved, faulty, tokens = list(_halved(minutes)), list(_faulty(minutes)), list(_tokens(minutes))
    with_headers, without = learned[: len(KINDS)], learned[len(KINDS) :]
    exact = [row for row in right if row.spec.kind in EXACT]
    return [
        Wave("exact", exact + faulty),
        Wave("exact, learning", [row for row in [*halved, *with_headers] if row.spec.kind in EXACT]),
        Wave("learning", without),
        Wave("wide", [row for row in [*right, *halved] if row.spec.kind not in EXACT]),
        Wave("wide, learning", [row for row in with_headers if row.spec.kind not in EXACT]),
        Wave("tokens", tokens),
        Wave("fast", [_fast(long=long)]),
    ]


def _fast(*, long: bool) -> Row:
    return Row(
        name="60,000 rpm",
        spec=Spec(kind="bucket", per_minute=60_000, seconds=0.02),
        settings="requests_per_minute = 60000",
        target=Target(per_minute=60_000),
        calls=Calls(streamed=0.0),
        clients=250,
        steady_after=5.0,
        minutes=1 if long else 0.5,
    )


def _configured(minutes: float) -> Iterator[Row]:
    for kind in KINDS:
        yield Row(
            name=f"right, {kind}",
            spec=Spec(kind=kind),
            settings="requests_per_minute = 600",
            target=Target(utilisation=0.99),
            minutes=minutes,
        )
    yield Row(
        name="right, 8 at once",
        spec=Spec(concurrency=8, lengths=(50, 1000), seconds_per_token=0.002),
        settings="requests_per_minute = 0\nmax_concurrent = 8",
        target=Target(utilisation=0.95),
        minutes=minutes,
    )


def _tokens(minutes: float) -> Iterator[Row]:
    prompts, bound, free = (200, 4000), (100, 2000), (2000, 2000)
    target = Target(utilisation=0.95)
    openai = "requests_per_minute = 0\ntokens_per_minute = 200000\n"

    def row(name: str, spec: Spec, settings: str, calls: Calls, type: str = "openai") -> Row:
        return Row(
            name=name,
            spec=replace(spec, lengths=(100, 2000), seconds=0.1, seconds_per_token=0.002),
            settings=settings,
            target=target,
            type=type,
            calls=calls,
            steady_after=60.0,
            minutes=minutes,
        )

    reserving = Calls(prompt_bytes=prompts, max_tokens=bound)
    yield row(
        "200k TPM reserved",
        Spec(tokens={"tokens": ("reserved", "bucket", 200_000)}, headers="openai"),
        openai + 'reserve_output = "max_tokens"',
        reserving,
    )
    yield row(
        "200k TPM reserved, refunded",
        Spec(tokens={"tokens": ("refunded", "fixed", 200_000)}, headers="azure"),
        openai + 'reserve_output = "refunded"',
        reserving,
        type="azure",
    )
    yield row(
        "200k TPM actual",
        Spec(tokens={"tokens": ("actual", "sliding", 200_000)}),
        openai + 'reserve_output = "typical"',
        Calls(prompt_bytes=prompts, max_tokens=free),
    )
    tokens: dict[str, tuple[Charging, str, float]] = {
        "input-tokens": ("input", "bucket", 100_000),
        "output-tokens": ("output", "bucket", 200_000),
    }
    yield row(
        "100k ITPM + 200k OTPM",
        Spec(tokens=tokens, headers="anthropic"),
        "requests_per_minute = 0\ninput_tokens_per_minute = 100000\noutput_tokens_per_minute = 200000",
        Calls(path=_ANTHROPIC.path, model=_ANTHROPIC.model, prompt_bytes=prompts, max_tokens=free),
        type="anthropic",
    )


def _learned(minutes: float) -> Iterator[Row]:
    styles: dict[str, Style] = {"quantised": "anthropic", "fixed": "azure"}
    for kind in KINDS:
        style = styles.get(kind, "openai")
        yield Row(
            name=f"unknown, headers, {kind}",
            spec=Spec(kind=kind, headers=style),
            settings="",
            target=Target(refused=3, utilisation=0.95),
            type=style,
            calls=_ANTHROPIC if style == "anthropic" else Calls(),
            steady_after=60.0,
            minutes=minutes if minutes == MINUTES[True] else minutes - 1,
        )
    for kind in KINDS:
        yield Row(
            name=f"unknown, Retry-After, {kind}",
            spec=Spec(kind=kind),
            settings="",
            target=Target(refused=10, utilisation=0.90),
            steady_after=180.0,
            minutes=max(minutes - 2, 1),
        )


def _halved(minutes: float) -> Iterator[Row]:
    for kind in ("bucket of 1", "quantised", "sliding"):
        yield Row(
            name=f"halved, {kind}",
            spec=Spec(kind=kind, change=(_UNTIL_HALVED, 0.5)),
            settings="requests_per_minute = 600",
            target=Target(settled=10.0),
            steady_after=_UNTIL_HALVED + QUIET,
            minutes=minutes - 1,
        )


def _faulty(minutes: float) -> Iterator[Row]:
    yield Row(
        name="2 % faults",
        spec=Spec(kind="bucket of 1", faults=0.02),
        settings="requests_per_minute = 600",
        target=Target(),
        minutes=minutes,
    )
