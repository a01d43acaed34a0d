"""`llmqd prices`: what a million tokens cost at the configured upstreams, by `[[price]]` or the bundled list."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import fnmatchcase

import orjson

from llmqd.cli.codes import DONE, FAILED
from llmqd.cli.table import table
from llmqd.config.load import load
from llmqd.config.model import Config, Upstream
from llmqd.errors import ConfigError
from llmqd.prices import Prices, Tariff, listed_models


@dataclass(frozen=True, slots=True)
class Row:
    """The price of a model at an upstream; `upstream` None: at all. `tariff` None: it is not known."""

    model: str
    upstream: str | None
    tariff: Tariff | None


def run(args: argparse.Namespace) -> int:
    """Print one table; exit code 1 where a model that was named has no price, or nothing fits."""
    try:
        config = load(args.config, os.environ)
    except ConfigError as error:
        print(f"llmqd: {error}", file=sys.stderr)
        return FAILED
    upstreams = [one for one in config.upstreams if args.upstream in (None, one.name)]
    if args.upstream is not None and not upstreams:
        known = ", ".join(one.name for one in config.upstreams) or "none"
        print(f"llmqd: no upstream is named {args.upstream!r}; there are: {known}", file=sys.stderr)
        return FAILED
    rows = list(priced(config, upstreams, args.models, time.time()))
    if args.json:
        print(orjson.dumps([as_json(row) for row in rows], option=orjson.OPT_INDENT_2).decode())
    else:
        print("\n".join(shown(rows)))
    if not rows:
        print("llmqd: no price fits; name a model, or configure an upstream that sells some", file=sys.stderr)
    return DONE if rows and all(row.tariff is not None for row in rows) else FAILED


def priced(config: Config, upstreams: Sequence[Upstream], models: Sequence[str], at: float) -> Iterator[Row]:
    """A row for each [[price]], each listed model that a pattern of `models` fits (none: all), and each name in it."""
    prices = Prices(config.prices)
    patterns = [model.lower() for model in models if _is_pattern(model)] or ([] if models else ["*"])
    for price in config.prices:
        if any(fnmatchcase(price.model.lower(), pattern) for pattern in patterns):
            yield Row(price.model, None, prices.tariff(price.model, None, at))
    for upstream in upstreams:
        for model in listed_models(upstream.price_provider) if upstream.price_provider is not None else ():
            if any(fnmatchcase(model.lower(), pattern) for pattern in patterns):
                tariff = prices.tariff(model, upstream.price_provider, at)
                if tariff is not None:
                    yield Row(model, upstream.name, tariff)
        for model in models:
            if not _is_pattern(model):
                yield Row(model, upstream.name, prices.tariff(model, upstream.price_provider, at))


def shown(rows: Sequence[Row]) -> Iterator[str]:
    """The prices for people, in US dollars."""
    yield from table(
        ("MODEL", "UPSTREAM", "INPUT", "OUTPUT", "CACHED", "CACHE WRITE", "SOURCE"),
        [
            (
                row.model,
                row.upstream or "any",
                *(_dollars(amount) for amount in _amounts(row.tariff).values()),
                _source(row.tariff) + (", more for long input" if row.tariff is not None and row.tariff.tiers else ""),
            )
            for row in rows
        ],
        right=("INPUT", "OUTPUT", "CACHED", "CACHE WRITE"),
    )
    yield "US dollars per million tokens; - is no price of its own."


def as_json(row: Row) -> dict[str, object]:
    """The same for programs; amounts are text, so that none is rounded."""
    amounts = {name: None if amount is None else _plain(amount) for name, amount in _amounts(row.tariff).items()}
    return {"model": row.model, "upstream": row.upstream, **amounts, "source": _source(row.tariff)}


def _amounts(tariff: Tariff | None) -> dict[str, Decimal | None]:
    return {
        "input": None if tariff is None else tariff.input,
        "output": None if tariff is None else tariff.output,
        "cache_read": None if tariff is None else tariff.cache_read,
        "cache_write": None if tariff is None else tariff.cache_write,
    }


def _source(tariff: Tariff | None) -> str:
    return "unknown" if tariff is None else "[[price]]" if tariff.own else "list"


def _plain(amount: Decimal) -> str:
    return f"{amount.normalize():f}"


def _dollars(amount: Decimal | None) -> str | None:
    return None if amount is None else f"${_plain(amount)}"


def _is_pattern(model: str) -> bool:
    return "*" in model or "?" in model
