"""`llmqd simulate`: what would have happened under other limits, keys or priorities."""

from __future__ import annotations

import argparse
import heapq
import os
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase
from operator import attrgetter
from pathlib import Path
from typing import Any

import orjson

from llmqd.arrivals import Arrival, Pattern, Recorded, faster, parse_pattern
from llmqd.cli.codes import DONE, FAILED, USED_WRONGLY
from llmqd.cli.progress import Progress
from llmqd.config.faults import nearest
from llmqd.config.limits import DIMENSIONS, Limits, OwnLimits
from llmqd.config.load import load
from llmqd.config.model import Config, Queue
from llmqd.config.quantities import parse_duration
from llmqd.config.setting import Setting, settings_of
from llmqd.controls import PRIORITIES, parse_priority
from llmqd.errors import ConfigError, StoreError
from llmqd.simulate import Result, Setup, Simulation
from llmqd.store.replay import count_calls, read_calls

_QUEUE_SETTINGS = ("max_waiting", "max_waiting_bytes", "max_wait", "fair_by", "ageing")
_WHO = ("agent", "user", "model", "session", "upstream")
_MOST_KEYS = 1000


class UsedWrongly(Exception):
    """An option that cannot be understood; the text says which and what would be right."""


def run(args: argparse.Namespace) -> int:
    """Plays the calls and prints the figures to stdout; warnings and progress go to stderr."""
    try:
        config = load(args.config, os.environ)
        changes = Changes.read(args.set, args.priority)
        simulation = Simulation(lambda upstream: changes.setup(upstream, config))
        arrivals, total, called = _arrivals(args, config)
        changes.check(called | {upstream.name for upstream in config.upstreams})
        if args.load != 1:
            arrivals = faster(arrivals, args.load)
        began = time.monotonic()
        with Progress(total, "calls played") as progress:
            for arrival in arrivals:
                simulation.arrive(changes.prioritised(arrival))
                progress.step()
            results = simulation.finish()
        took = time.monotonic() - began
    except UsedWrongly as error:
        print(f"llmqd simulate: {error}", file=sys.stderr)
        return USED_WRONGLY
    except (ConfigError, StoreError) as error:
        print(f"llmqd simulate: {error}", file=sys.stderr)
        return FAILED
    for warning in _warnings(results, changes):
        print(f"warning: {warning}", file=sys.stderr)
    if args.json:
        report = {"upstreams": {name: figures(result) for name, result in results.items()}}
        print(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode())
    else:
        print("\n".join(table(results, took)))
    return DONE


def _arrivals(args: argparse.Namespace, config: Config) -> tuple[Iterable[Arrival], int | None, set[str]]:
    """The calls to play, how many where that is known, and the names of the upstreams that they go to."""
    if args.load <= 0:
        raise UsedWrongly(f"--load {args.load:g}: must be above 0")
    if args.synthetic:
        patterns = _patterns(args.synthetic, config)
        drawn = [pattern.arrivals(config.queue.max_wait or None) for pattern in patterns]
        return heapq.merge(*drawn, key=attrgetter("at")), None, {pattern.upstream for pattern in patterns}
    path = Path(args.db) if args.db is not None else config.database
    since = 0.0
    if args.since is not None:
        try:
            since = time.time() - parse_duration(args.since)
        except ValueError as error:
            raise UsedWrongly(f'--since {args.since}: must be a duration such as "24h" or "7d"') from error
    recorded = Recorded()
    arrivals = (recorded.arrival(record) for record in read_calls(path, since))
    played = (arrival for arrival in arrivals if arrival is not None)
    counted = count_calls(path, since)
    return played, counted.total(), {upstream for upstream in counted if upstream}


def _patterns(texts: list[str], config: Config) -> list[Pattern]:
    """The patterns, to be laid over each other; two of the same seed do not move in step."""
    upstream = config.upstreams[0].name if config.upstreams else "synthetic"
    patterns = []
    for number, text in enumerate(texts):
        try:
            pattern = parse_pattern(text)
        except ValueError as error:
            raise UsedWrongly(f"--synthetic {text}: {error}") from error
        patterns.append(replace(pattern, upstream=pattern.upstream or upstream, seed=pattern.seed * 1000 + number))
    return patterns


@dataclass(frozen=True, slots=True)
class Change:
    """`--set openai.requests_per_minute=500`: `where` is a pattern for names of upstreams."""

    text: str
    where: str
    name: str
    value: Any


@dataclass(frozen=True, slots=True)
class Rule:
    """`--priority agent:crawler=batch`: calls whose `who` fits the pattern get another priority."""

    who: str
    pattern: str
    priority: int

    def fits(self, arrival: Arrival) -> bool:
        """Whether a call is meant."""
        call = arrival.call
        value = call.session.id if self.who == "session" else getattr(call, self.who)
        return value is not None and fnmatchcase(value, self.pattern)


@dataclass(slots=True)
class Changes:
    """What the command line changes in the configuration and in the calls."""

    queue: dict[str, Any] = field(default_factory=dict)
    limits: list[Change] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)

    @classmethod
    def read(cls, settings: Iterable[str], priorities: Iterable[str]) -> Changes:
        """From the options as written. Raises UsedWrongly."""
        changes = cls()
        for text in settings:
            change = _read_change(text)
            if change.where == "queue":
                changes.queue[change.name] = change.value
            else:
                changes.limits.append(change)
        changes.rules += [_read_rule(text) for text in priorities]
        return changes

    def check(self, upstreams: Collection[str]) -> None:
        """Raises UsedWrongly for a change that fits none of the upstreams there are."""
        for change in self.limits:
            if not any(fnmatchcase(upstream, change.where) for upstream in upstreams):
                hint = nearest(change.where, upstreams) or f"; there are {', '.join(sorted(upstreams)) or 'none'}"
                raise UsedWrongly(f"--set {change.text}: there is no upstream {change.where}{hint}")

    def setup(self, upstream: str, config: Config) -> Setup:
        """What holds for an upstream: as configured (an unknown one: as a new one would be), then as changed."""
        known = config.upstream(upstream)
        lanes = tuple(key.limits for key in known.keys) if known is not None else (Limits(),)
        for change in self.limits:
            if fnmatchcase(upstream, change.where):
                lanes = _changed(lanes, change)
        queue = config.queue
        values = {name: self.queue.get(name, getattr(queue, name)) for name in _QUEUE_SETTINGS}
        values["max_wait"] = self.queue.get("max_wait")
        return Setup(lanes=lanes, **{name: value for name, value in values.items() if value is not None})

    def prioritised(self, arrival: Arrival) -> Arrival:
        """The call with the priority of the first rule that fits it."""
        for rule in self.rules:
            if rule.fits(arrival):
                arrival.call.priority = rule.priority
                break
        return arrival


def _changed(lanes: tuple[Limits, ...], change: Change) -> tuple[Limits, ...]:
    if change.name == "keys":
        return tuple(lanes[number % len(lanes)] for number in range(change.value))
    values: dict[str, Any] = {change.name: change.value}
    if change.name == "requests_per_minute":
        values["assumed"] = False
    return tuple(replace(limits, **values) for limits in lanes)


def _read_change(text: str) -> Change:
    place, equals, written = text.partition("=")
    where, dot, name = place.strip().rpartition(".")
    if not equals or not dot or not where or not written.strip():
        raise UsedWrongly(f"--set {text}: must be UPSTREAM.SETTING=VALUE or queue.SETTING=VALUE")
    value = _value(written.strip())
    if name == "keys" and where != "queue":
        if not isinstance(value, int) or not 1 <= value <= _MOST_KEYS:
            raise UsedWrongly(f"--set {text}: keys must be a whole number from 1 to {_MOST_KEYS}")
        return Change(text, where, name, value)
    settings: Mapping[str, Setting] = settings_of(OwnLimits)
    if where == "queue":
        settings = {one: setting for one, setting in settings_of(Queue).items() if one in _QUEUE_SETTINGS}
    if name not in settings:
        hint = nearest(name, [*settings, "keys"]) or f"; there are {', '.join(settings)}"
        raise UsedWrongly(f"--set {text}: {name} cannot be changed here{hint}")
    try:
        return Change(text, where, name, settings[name].kind.read(value))
    except ValueError as error:
        raise UsedWrongly(f"--set {text}: {error}") from error


def _value(text: str) -> object:
    """A value as TOML would read it, but text needs no quotes."""
    if text in ("true", "false"):
        return text == "true"
    try:
        number = Decimal(text)
    except InvalidOperation:
        return text.strip("\"'")
    return int(number) if number == number.to_integral_value() else number


def _read_rule(text: str) -> Rule:
    place, _, priority = text.rpartition("=")
    who, colon, pattern = place.partition(":")
    if not colon or who not in _WHO or not pattern:
        raise UsedWrongly(f"--priority {text}: must be WHO:NAME=PRIORITY, WHO one of {', '.join(_WHO)}")
    try:
        return Rule(who, pattern, parse_priority(priority))
    except ValueError as error:
        raise UsedWrongly(f"--priority {text}: {error}") from error


def _warnings(results: Mapping[str, Result], changes: Changes) -> Iterator[str]:
    for change in changes.limits:
        if not any(fnmatchcase(upstream, change.where) for upstream in results):
            yield f"--set {change.text} changes nothing: no call went to such an upstream"


def figures(result: Result) -> dict[str, Any]:
    """One upstream as JSON; waits are in seconds."""
    return {
        "keys": len(result.setup.lanes),
        "limits": [
            {one: limits.limit(one) for one in DIMENSIONS if limits.limit(one)} for limits in result.setup.lanes
        ],
        "calls": result.calls,
        "seconds": round(result.seconds, 3),
        "granted": result.granted,
        "refused": dict(result.refused),
        "most_waiting": result.most_waiting,
        "utilisation": {name: round(share, 6) for name, share in result.utilisation().items()},
        "wait_seconds": {
            str(priority): {
                "count": waits.count,
                "mean": round(waits.mean, 3),
                "p50": round(waits.percentile(0.5), 3),
                "p90": round(waits.percentile(0.9), 3),
                "p99": round(waits.percentile(0.99), 3),
                "longest": round(waits.longest, 3),
            }
            for priority, waits in sorted(result.waits.items())
        },
    }


def table(results: Mapping[str, Result], took: float) -> Iterator[str]:
    """All upstreams for people, a line each and one for each priority."""
    calls = sum(result.calls for result in results.values())
    yield f"{calls:,} calls played in {took:.1f} s"
    words = {number: word for word, number in PRIORITIES.items()}
    for name, result in results.items():
        one = figures(result)
        limits = ", ".join(f"{limit} {value:g}" for limit, value in one["limits"][0].items()) or "no limits"
        yield f"\n{name}: {one['keys']} {'key' if one['keys'] == 1 else 'keys'}, {limits}"
        refused = ", ".join(f"{count:,} {code}" for code, count in one["refused"].items()) or "none"
        yield f"  calls {result.calls:,} in {result.seconds:,.0f} s; granted {result.granted:,}; refused {refused}"
        shares = ", ".join(f"{limit} {share:.1%}" for limit, share in one["utilisation"].items()) or "no limit"
        yield f"  most waiting at once {result.most_waiting:,}; used {shares}"
        yield f"  {'priority':<12}{'calls':>10}{'mean':>10}{'p50':>10}{'p90':>10}{'p99':>10}{'longest':>10}"
        for priority, waits in one["wait_seconds"].items():
            title = f"{priority} {words.get(int(priority), '')}"
            seconds = "".join(f"{waits[key]:>8,.2f} s" for key in ("mean", "p50", "p90", "p99", "longest"))
            yield f"  {title:<12}{waits['count']:>10,}{seconds}"
