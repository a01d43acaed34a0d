"""What `make bench-queue` plays: one row a kind of upstream, with the daemon's settings and what must come out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from bench.queue_load import Calls
from bench.queue_upstream import Spec
from tests.fake_upstream.limit_headers import Style
from tests.fake_upstream.limiters import Charging

KINDS = ("bucket", "bucket of 1", "quantised", "fixed", "sliding")
MINUTES = 4, 10
"""How long every row runs: the short form, and the long one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What must come out. None is not judged. `settled` is in seconds from the first 429 after the limit changed; only
    429s before that count as `refused` then."""

    refused: int = 0
    client_errors: int = 0
    utilisation: tuple[float, float] | None = None
    settled: float | None = None

    def __str__(self) -> str:
        parts = [f"≤ {self.refused} upstream 429" if self.refused else "0 upstream 429"]
        if self.settled is not None:
            parts = [f"settled ≤ {self.settled:g} s"]
        parts.append(f"{self.client_errors} client errors")
        if self.utilisation is not None:
            low, high = self.utilisation
            parts.append(f"{low:g} – {high:g}" if high < 2 else f"≥ {low:g}")
        return ", ".join(parts)


ANY = 9.0
"""Where utilisation is bounded from below alone: a bucket that is full at the start gives more than its rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One upstream, one daemon, its clients. `settings` stand in its [[upstream]]; `type` is what that speaks.

    Utilisation is measured from `steady_after` seconds on, against what the upstream allows in that time.
    """

    name: str
    spec: Spec
    settings: str
    target: Target
    type: str = "openai"
    calls: Calls = field(default_factory=Calls)
    clients: int = 60
    steady_after: float = 10.0
    seconds: float = 240.0


_ANTHROPIC = Calls(path="/v1/messages", model="claude-sonnet-4-5")


def rows(*, long: bool) -> list[Row]:
    """Every row that runs beside the others."""
    seconds = MINUTES[long] * 60.0
    return [*_configured(seconds), *_tokens(seconds), *_learned(seconds), *_halved(seconds), *_faulty(seconds)]


def alone(*, long: bool) -> list[Row]:
    """Rows that want the machine for themselves."""
    target = Target(utilisation=(0.99, 1.01))
    spec = Spec(kind="bucket", per_minute=60_000, seconds=0.02)
    return [
        Row(
            name="60,000 rpm",
            spec=spec,
            settings="requests_per_minute = 60000",
            target=target,
            calls=Calls(streamed=0.0),
            clients=250,
            steady_after=5.0,
            seconds=35.0 if long else 25.0,
        )
    ]


def _configured(seconds: float) -> Iterator[Row]:
    for kind in KINDS:
        yield Row(
            name=f"right, {kind}",
            spec=Spec(kind=kind),
            settings="requests_per_minute = 600",
            target=Target(utilisation=(0.99, ANY)),
            seconds=seconds,
        )
    yield Row(
        name="right, 8 at once",
        spec=Spec(concurrency=8, lengths=(50, 1000), seconds_per_token=0.002),
        settings="requests_per_minute = 0\nmax_concurrent = 8",
        target=Target(utilisation=(0.95, ANY)),
        seconds=seconds,
    )


def _tokens(seconds: float) -> Iterator[Row]:
    prompts, bound, free = (200, 4000), (100, 2000), (2000, 2000)
    target = Target(utilisation=(0.95, ANY))
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
            seconds=seconds,
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


def _learned(seconds: float) -> Iterator[Row]:
    styles: dict[str, Style] = {"quantised": "anthropic", "fixed": "azure"}
    for kind in KINDS:
        style = styles.get(kind, "openai")
        yield Row(
            name=f"unknown, headers, {kind}",
            spec=Spec(kind=kind, headers=style),
            settings="",
            target=Target(refused=3, utilisation=(0.95, ANY)),
            type=style,
            calls=_ANTHROPIC if style == "anthropic" else Calls(),
            steady_after=60.0,
            seconds=seconds,
        )
    for kind in KINDS:
        yield Row(
            name=f"unknown, Retry-After, {kind}",
            spec=Spec(kind=kind),
            settings="",
            target=Target(refused=10, utilisation=(0.90, ANY)),
            steady_after=180.0,
            seconds=seconds,
        )


def _halved(seconds: float) -> Iterator[Row]:
    for kind in ("bucket of 1", "quantised", "sliding"):
        yield Row(
            name=f"halved, {kind}",
            spec=Spec(kind=kind, change=(seconds / 3, 0.5)),
            settings="requests_per_minute = 600",
            target=Target(settled=10.0),
            steady_after=seconds / 3 + 30,
            seconds=seconds,
        )


def _faulty(seconds: float) -> Iterator[Row]:
    yield Row(
        name="2 % faults",
        spec=Spec(kind="bucket of 1", faults=0.02),
        settings="requests_per_minute = 600",
        target=Target(),
        seconds=seconds,
    )
