"""What a call cost: the operator's own prices first, then the bundled price list of genai-prices.

All sums are whole numbers: a price per million tokens is kept in picodollars, and each part of a cost is rounded once.
The price list is imported on first use, because that takes a quarter of a second; `warm` does it ahead.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fnmatch import translate
from typing import TYPE_CHECKING, Protocol, cast

from llmqd.usage import PICO, Cost, Usage

if TYPE_CHECKING:
    from types import ModuleType

    from genai_prices.types import ModelInfo, ModelPrice, Provider, TieredPrices

_MTOK = 10**6
_CACHED_MODELS = 1024
_LONGEST_NAME = 256
_FRESH = 60
"""Seconds for which a price that was looked up is used again: prices change by the date or by the hour."""

_MAKERS = ("anthropic", "google", "openai")
_OPEN_WEIGHTS = re.compile(r"gpt-oss|gemma|whisper|gpt-?2|medgemma|t5|bert")
"""Models of these makers that anybody can serve: their name does not tell who is paid for them."""

_GROQ_SHORTEST_AUDIO = 10.0
"""Groq bills at least 10 seconds a transcription (Groq: "Speech to text", pricing)."""


class Price(Protocol):
    """An operator's price, as `llmqd.config.model.Price` holds it: USD per million tokens, `model` with wildcards."""

    @property
    def model(self) -> str: ...
    @property
    def input(self) -> Decimal | None: ...
    @property
    def output(self) -> Decimal | None: ...
    @property
    def cache_read(self) -> Decimal | None: ...
    @property
    def cache_write(self) -> Decimal | None: ...


@dataclass(slots=True, frozen=True)
class _Rate:
    """Picodollars per million units, with the prices that hold for calls of more than so many input tokens."""

    base: int
    tiers: tuple[tuple[int, int], ...] = ()

    def at(self, given: int) -> int:
        price = self.base
        for start, tier in self.tiers:
            if given > start:
                price = tier
        return price


@dataclass(slots=True, frozen=True)
class _Rates:
    """The prices of one model. None: not sold in this unit. `request` is picodollars a call, `audio_hour` per hour."""

    input: _Rate | None = None
    output: _Rate | None = None
    cache_read: _Rate | None = None
    cache_write_5m: _Rate | None = None
    cache_write_1h: _Rate | None = None
    input_audio: _Rate | None = None
    output_audio: _Rate | None = None
    reasoning: _Rate | None = None
    audio_hour: int = 0
    shortest_audio: float = 0.0
    search: int = 0
    request: int = 0


@dataclass(slots=True, frozen=True)
class Tariff:
    """What a million tokens of a model cost, in US dollars; None: not sold, or without a price of its own.

    `own`: the operator has said so. `tiers`: calls with more input cost more.
    """

    input: Decimal | None
    output: Decimal | None
    cache_read: Decimal | None
    cache_write: Decimal | None
    own: bool
    tiers: bool


class Prices:
    """The price of a call. `overrides` come first, the first whose `model` matches (case does not count) decides."""

    def __init__(self, overrides: Sequence[Price]) -> None:
        self._overrides = [(re.compile(translate(price.model.lower())), _own_rates(price)) for price in overrides]
        self._found: dict[tuple[str, str | None, str | None], tuple[float, _Rates | None]] = {}

    def warm(self) -> None:
        """Load the price list; for a thread after start-up, so that the first call need not wait for it."""
        _listed("gpt-4o", "openai", None, 0.0)

    def cost(self, usage: Usage, *, model: str | None, provider: str | None, at: float) -> Cost | None:
        """What `usage` cost at the time `at` (Unix seconds); None when that is not known, which is not the same as 0.

        `provider` is the id in the genai-prices data of who sold it. Without one (a local server, an unknown host) only
        models that their maker alone sells are priced, by their name: a `claude-…` behind an unknown gateway is still
        Anthropic's to bill, while a `llama-…` may be running on the operator's own machine.

        A price that the provider itself reported is the total, whatever the list says. Fees a call (requests, web
        searches, audio by the hour) stand with the input. Cached tokens without a price of their own cost what input
        costs. Nothing is priced when tokens were used of a kind that the model is not sold in.
        """
        cost = None
        if usage.source != "unknown" and model:
            rates = self._rates(model, provider, usage.service_tier, at)
            cost = _cost(usage, rates) if rates is not None else None
        if usage.cost_reported_pico is None:
            return cost
        if cost is None:
            return Cost(usage.cost_reported_pico)
        return Cost(usage.cost_reported_pico, cost.input, cost.output, cost.cache_read, cost.cache_write)

    def tariff(self, model: str, provider: str | None, at: float) -> Tariff | None:
        """What tokens of this model cost at that time; None when that is not known. `provider` as for `cost`."""
        own = self._own(model)
        rates = own or _listed(model, provider, None, at)
        if rates is None:
            return None
        kinds = (rates.input, rates.output, rates.cache_read, rates.cache_write_5m)
        given, made, read, written = (None if rate is None else Decimal(rate.base) / PICO for rate in kinds)
        tiers = any(rate is not None and rate.tiers for rate in kinds)
        return Tariff(given, made, read, written, own is not None, tiers)

    def _rates(self, model: str, provider: str | None, tier: str | None, at: float) -> _Rates | None:
        key = (model, provider, tier)
        known = self._found.get(key)
        if known is not None and known[0] <= at < known[0] + _FRESH:
            return known[1]
        rates = self._own(model) or _listed(model, provider, tier, at)
        # Model names are whatever clients send, so the oldest entry makes room.
        self._found.pop(key, None)
        while len(self._found) >= _CACHED_MODELS:
            self._found.pop(next(iter(self._found)))
        if len(model) <= _LONGEST_NAME:
            self._found[key] = (at - at % _FRESH, rates)
        return rates

    def _own(self, model: str) -> _Rates | None:
        name = model.lower()
        return next((rates for pattern, rates in self._overrides if pattern.match(name)), None)


def listed_models(provider: str) -> list[str]:
    """The names under which the bundled list has what this provider sells; some are only how names begin."""
    find_provider_by_id, sellers = _list()
    seller = find_provider_by_id(sellers, provider)
    return [] if seller is None else sorted(model.id for model in seller.models)


def _own_rates(price: Price) -> _Rates:
    cache_write = _rate(price.cache_write)
    return _Rates(
        input=_rate(price.input),
        output=_rate(price.output),
        cache_read=_rate(price.cache_read),
        cache_write_5m=cache_write,
        cache_write_1h=cache_write,
    )


def _listed(model: str, provider: str | None, tier: str | None, at: float) -> _Rates | None:
    """The rates of the bundled list, at that time and service tier."""
    found = _find(model, provider)
    if found is None:
        return None
    seller, info = found
    # Which of these a tier is called by depends on the provider; only the pair that the list knows has an effect.
    context = {"service_tier": tier, "processing": tier, "speed": tier} if tier else None
    listed = info.get_prices(datetime.fromtimestamp(at, UTC), context)
    return _listed_rates(listed, shortest_audio=_GROQ_SHORTEST_AUDIO if seller.id == "groq" else 0.0)


def _find(model: str, provider: str | None) -> tuple[Provider, ModelInfo] | None:
    """The seller and the model. The list's own lookup is not used: it remembers every name it was ever asked for."""
    if len(model) > _LONGEST_NAME:
        return None
    find_provider_by_id, sellers = _list()
    # Gemini names its models by their resource, models/x or publishers/google/models/x.
    name = model.lower().rpartition("/models/")[2].removeprefix("models/")
    if provider is not None:
        seller = find_provider_by_id(sellers, provider)
    else:
        makers = [
            maker
            for maker in sellers
            if maker.id in _MAKERS and maker.model_match is not None and maker.model_match.is_match(name)
        ]
        seller = makers[0] if len(makers) == 1 and not _OPEN_WEIGHTS.search(name) else None
    info = seller.find_model(name, all_providers=sellers) if seller is not None else None
    return None if seller is None or info is None else (seller, info)


class _Nothing:
    """Stands in for pydantic."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


def _list() -> tuple[Callable[[list[Provider], str], Provider | None], list[Provider]]:
    """What finds a seller by its id, and all sellers. Imports the list, which is slow, when it is first asked for.

    Its classes are described for pydantic, which nothing needs but an update from the network. Without that the import
    takes a third of the time, and nine megabytes less.
    """
    described = "genai_prices" in sys.modules or "pydantic" in sys.modules
    if not described:
        sys.modules["pydantic"] = cast("ModuleType", _Nothing())
    try:
        from genai_prices.data_snapshot import find_provider_by_id, get_snapshot
    finally:
        if not described:
            del sys.modules["pydantic"]
    return find_provider_by_id, get_snapshot().providers


def _listed_rates(listed: ModelPrice, shortest_audio: float) -> _Rates:
    prices: dict[str, Decimal | TieredPrices | None] = vars(listed)
    cache_write = _rate(prices.get("cache_write_mtok"))
    hour = prices.get("input_audio_hours") or prices.get("audio_hours")
    return _Rates(
        input=_rate(prices.get("input_mtok")),
        output=_rate(prices.get("output_mtok")),
        cache_read=_rate(prices.get("cache_read_mtok")),
        cache_write_5m=_rate(prices.get("cache_write_5m_mtok")) or cache_write,
        cache_write_1h=_rate(prices.get("cache_write_1h_mtok")) or cache_write,
        input_audio=_rate(prices.get("input_audio_mtok")),
        output_audio=_rate(prices.get("output_audio_mtok")),
        reasoning=_rate(prices.get("output_reasoning_mtok")),
        audio_hour=_flat(hour),
        shortest_audio=shortest_audio,
        search=_flat(prices.get("web_searches_kcount")) // 1000,
        request=_flat(prices.get("requests_kcount")) // 1000,
    )


def _rate(price: Decimal | TieredPrices | None) -> _Rate | None:
    if price is None:
        return None
    if isinstance(price, Decimal):
        return _Rate(_pico(price))
    return _Rate(_pico(price.base), tuple((tier.start, _pico(tier.price)) for tier in price.tiers))


def _flat(price: Decimal | TieredPrices | None) -> int:
    return _pico(price) if isinstance(price, Decimal) else 0


def _pico(dollars: Decimal) -> int:
    return int((dollars * PICO).to_integral_value())


def _cost(usage: Usage, rates: _Rates) -> Cost | None:
    """Each kind of token at its own rate; None where a kind was used that has no price, or nothing has one."""
    given = usage.input
    cached = min(usage.cached, given)
    written_5m = min(usage.cache_write_5m, given - cached)
    written_1h = min(usage.cache_write_1h, given - cached - written_5m)
    fresh = given - cached - written_5m - written_1h
    heard = min(usage.input_audio, fresh) if rates.input_audio is not None else 0
    spoken = min(usage.output_audio, usage.output) if rates.output_audio is not None else 0
    thought = min(usage.reasoning, usage.output - spoken) if rates.reasoning is not None else 0
    seconds = max(usage.audio_seconds, rates.shortest_audio) if usage.audio_seconds else 0.0
    if not (given or usage.output or (seconds and rates.audio_hour)):
        return None
    said = usage.output - spoken - thought
    unsold_input = fresh > heard and rates.input is None and not (seconds and rates.audio_hour)
    if unsold_input or (said and rates.output is None):
        return None
    cache_read = rates.cache_read or rates.input
    cache_write_5m = rates.cache_write_5m or rates.input
    cache_write_1h = rates.cache_write_1h or rates.input
    fees = rates.request + rates.search * usage.web_searches + round(rates.audio_hour * seconds / 3600)
    parts = (
        _sum(given, (fresh - heard, rates.input), (heard, rates.input_audio)) + fees,
        _sum(given, (said, rates.output), (spoken, rates.output_audio), (thought, rates.reasoning)),
        _sum(given, (cached, cache_read)),
        _sum(given, (written_5m, cache_write_5m), (written_1h, cache_write_1h)),
    )
    return Cost(sum(parts), *parts)


def _sum(given: int, *sold: tuple[int, _Rate | None]) -> int:
    total = 0
    for number, rate in sold:
        if number and rate is not None:
            total += number * rate.at(given)
    return (total + _MTOK // 2) // _MTOK
