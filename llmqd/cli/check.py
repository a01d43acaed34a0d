"""`llmqd check`: says every fault of the configuration, or what is in force."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator

from llmqd.cli.codes import DONE, FAILED
from llmqd.cli.options import load_config
from llmqd.config.dsn import place_of
from llmqd.config.limits import DIMENSIONS, Limits
from llmqd.config.model import Config, Key, Upstream
from llmqd.config.quantities import format_duration
from llmqd.errors import ConfigError


def run(args: argparse.Namespace) -> int:
    """Print the summary and the warnings to stdout, faults to stderr."""
    try:
        config = load_config(args, os.environ)
    except ConfigError as error:
        for fault in error.faults:
            print(fault, file=sys.stderr)
        count = len(error.faults)
        print(f"{count} {'fault' if count == 1 else 'faults'}; nothing would start", file=sys.stderr)
        return FAILED
    print("\n".join(summary(config)))
    return DONE


def summary(config: Config) -> Iterator[str]:
    """What is in force, a line each: where it listens, what it keeps where, upstreams, lanes and their limits."""
    yield f"OK: {config.source or 'built-in defaults, environment and command line (no file)'}"
    yield f"  listen    {', '.join(config.server.listen)}"
    yield f"  state     {config.server.state_directory}"
    yield f"  store     {_place(config)}"
    yield f"  queue     {_waiting(config)}"
    for upstream in config.upstreams:
        yield f"  upstream  {upstream.name}: {upstream.type} at {upstream.base_url or 'the built-in simulator'}"
        for key in upstream.keys:
            lane = upstream.name if len(upstream.keys) == 1 else f"{upstream.name}/{key.name}"
            yield f"    lane    {lane}: {limits_text(key.limits)}; {_key_text(upstream, key)}"
    for route in config.routes:
        yield f"  route     {route.model} -> {', '.join(str(step) for step in route.upstreams)}"
    for warning in config.warnings:
        yield f"warning: {warning}"


def _place(config: Config) -> str:
    """Where the ledger is."""
    if config.store.backend == "sqlite":
        return f"sqlite in {config.database}"
    if config.store.dsn is None or config.store.backend == "memory":
        return "in memory, gone at the next start"
    return f"postgresql, the database {place_of(config.store.dsn.reveal())}"


def _waiting(config: Config) -> str:
    queue = config.queue
    most = f"at most {queue.max_waiting} calls wait in a lane" if queue.max_waiting else "any number of calls waits"
    longest = f"for {format_duration(queue.max_wait)} at most" if queue.max_wait else "for any time"
    return f"{most}, {longest}; priority {queue.priority} unless named"


_UNITS = {
    "requests_per_second": "calls a second",
    "requests_per_minute": "a minute",
    "requests_per_day": "calls a day",
    "tokens_per_minute": "tokens a minute",
    "input_tokens_per_minute": "input tokens a minute",
    "output_tokens_per_minute": "output tokens a minute",
}


def limits_text(limits: Limits) -> str:
    """The limits of a lane as a person would say them; groups of models with limits of their own come last."""
    parts = [f"{limits.limit(one):g} {_UNITS[one]}" for one in DIMENSIONS if one in _UNITS and limits.limit(one)]
    rate = ", ".join(parts) or "any rate"
    if limits.assumed:
        rate += " at first"
    if limits.requests_per_minute or limits.requests_per_second:
        rate += f", burst {limits.burst}"
    text = f"{rate}, {limits.max_concurrent or 'any number'} at once"
    return "; ".join([text, *(f"{group.name}: {limits_text(group.limits)}" for group in limits.groups)])


def _key_text(upstream: Upstream, key: Key) -> str:
    if key.api_key is not None:
        return "key set"
    if key.missing:
        return "key MISSING"
    return "no key needed" if upstream.preset.auth == "none" else "the client's own key passes"
