"""What the journal says: a run began, a call opened or closed, calls belong elsewhere, something is to be remembered.

Each entry is one JSON object, `{"v":1,"e":"run"|"open"|"close"|"regroup"|"note",…}`. A `close` carries the whole record
and not only its outcome, so that it stands alone where the matching `open` was never written or cannot be read. Its
member `said` is the transcript: what was said and may not be in the database yet.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import orjson

from llmqd.budgets.charge import Amount, charged
from llmqd.call import Record
from llmqd.errors import StoreError
from llmqd.messages.transcript import encode_transcript
from llmqd.store.columns import Json, Row, bounded, call_row, outcome_row
from llmqd.store.spoken import NOTHING_SAID, Spoken, spoken
from llmqd.usage import LaneUsage

VERSION = 1
IMPORTED = "litellm"
"""The lane of calls that were imported."""


@dataclass(slots=True, frozen=True)
class Run:
    """A daemon began to write: calls that another run left open have died with it."""

    id: str


@dataclass(slots=True, frozen=True)
class Seen:
    """The session that an entry touches, and when (Unix seconds)."""

    session: str
    source: str
    first: float
    last: float


@dataclass(slots=True, frozen=True)
class Opened:
    """A call was dispatched. `row` holds the values of OPENED_COLUMNS."""

    id: str
    seen: Seen | None
    row: Row


@dataclass(slots=True, frozen=True)
class Tally:
    """What one closed call adds to its session."""

    requests: int
    errors: int
    input: int = 0
    output: int = 0
    cached: int = 0
    cost_pico: int = 0
    unknown_cost: int = 0


@dataclass(slots=True, frozen=True)
class Spent:
    """What a call that came at `at` (Unix seconds) counts for in budgets, and whose it is."""

    at: float
    key: str | None
    user: str | None
    agent: str | None
    amount: Amount


@dataclass(slots=True, frozen=True)
class Closed:
    """A call ended. `row` holds the values of CALL_COLUMNS, OUTCOME_COLUMNS and SPOKEN_COLUMNS.

    `sent` is what it took of the limits of its lane; None where the provider does not count it. `spoken` is what was
    said in it; None where nothing is kept. `spent` is what it counts for in budgets; None where it counts nowhere.
    """

    id: str
    seen: Seen | None
    row: Row
    tally: Tally
    sent: LaneUsage | None = None
    spoken: Spoken | None = None
    spent: Spent | None = None


@dataclass(slots=True, frozen=True)
class Regrouped:
    """Calls of some sessions belong to the session `into` from now on.

    Those with ids from `first` on and before `until`; None: those that are yet to come, too. `at` is when it was said,
    in Unix seconds, and tells it from others of the same kind.
    """

    sessions: tuple[str, ...]
    into: str
    at: float
    first: str = ""
    until: str | None = None


@dataclass(slots=True, frozen=True)
class Noted:
    """Something to remember under a name, such as how far an import has come: true once all before it is written."""

    name: str
    text: str


Entry = Run | Opened | Closed | Regrouped | Noted


def encode_run(run: str) -> bytes:
    """The entry that begins every segment."""
    return orjson.dumps({"v": VERSION, "e": "run", "run": run})


def encode_noted(name: str, text: str) -> bytes:
    """The entry for something to remember."""
    return orjson.dumps({"v": VERSION, "e": "note", "name": name, "text": text})


def encode_opened(record: Record) -> bytes:
    """The entry for a call that is sent upstream now."""
    outcome = record.outcome
    entry = {"v": VERSION, "e": "open", "call": record.call, "lane": outcome.lane, "queued_ms": outcome.queued_ms}
    try:
        return orjson.dumps(entry)
    except TypeError:
        return orjson.dumps(_plain(entry | {"call": asdict(record.call)}))


def encode_closed(record: Record) -> bytes:
    """The entry for a call that has ended."""
    entry: Json = {"v": VERSION, "e": "close", "call": record.call, "outcome": record.outcome}
    if record.transcript is not None:
        entry["said"] = orjson.Fragment(encode_transcript(record.transcript))
    try:
        return orjson.dumps(entry)
    except TypeError:
        plain = {"call": _plain(asdict(record.call)), "outcome": _plain(asdict(record.outcome))}
        return orjson.dumps(entry | plain)


def encode_regrouped(entry: Regrouped) -> bytes:
    """The entry that merges sessions or splits one."""
    return orjson.dumps({"v": VERSION, "e": "regroup", **asdict(entry)})


def _plain(value: Any) -> Any:
    """The value without what JSON in UTF-8 cannot hold: lone surrogates, whole numbers beyond 64 bits, other types."""
    match value:
        case None | bool() | float():
            return value
        case int():
            return max(-(2**63), min(value, 2**63 - 1))
        case str():
            return value.encode("utf-8", "replace").decode()
        case dict():
            return {_plain(str(key)): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case _:
            return _plain(str(value))


def decode(payload: bytes) -> Entry:
    """Read an entry. Raises StoreError when it is none, or of a newer llmqd."""
    try:
        data = orjson.loads(payload)
        if data["v"] != VERSION:
            raise StoreError(f"journal entry of version {data['v']}; this llmqd reads version {VERSION}")
        match data["e"]:
            case "run":
                return Run(data["run"])
            case "note":
                return Noted(_word(data["name"]), _word(data["text"]))
            case "open":
                return _opened(data["call"], data.get("lane"), data.get("queued_ms"))
            case "close":
                return _closed(data["call"], data["outcome"], spoken(data.get("said")))
            case "regroup":
                return Regrouped(tuple(data["sessions"]), data["into"], data["at"], data["first"], data["until"])
            case other:
                raise StoreError(f"journal entry of unknown kind {other!r}")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StoreError(f"journal entry cannot be understood: {error!r}") from error


def _word(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _opened(call: Json, lane: str | None, queued_ms: float | None) -> Opened:
    return Opened(call["id"], _seen(call, None), (*call_row(call), lane, queued_ms))


def _closed(call: Json, outcome: Json, said: Spoken | None) -> Closed:
    if outcome["status"] == "running":
        # A close ends the call whatever its writer forgot to say.
        outcome["status"] = "failed"
    row = (*call_row(call), *outcome_row(outcome), *(NOTHING_SAID if said is None else said.row))
    seen = _seen(call, outcome.get("total_ms"))
    return Closed(call["id"], seen, row, _tally(outcome), _sent(call, outcome), said, _spent(call, outcome))


def _seen(call: Json, total_ms: float | None) -> Seen | None:
    session = call.get("session") or {}
    if not session.get("id"):
        return None
    received = call["received_at"]
    return Seen(session["id"], session.get("source") or "none", received, received + (total_ms or 0.0) / 1000)


def _tally(outcome: Json) -> Tally:
    """A call that the upstream answered with 2xx is a request, even if it was cut later; any other is an error."""
    answered = 200 <= (outcome.get("http_status") or 0) < 300
    usage, cost = outcome.get("usage") or {}, outcome.get("cost") or {}
    return Tally(
        requests=int(answered),
        errors=int(not answered),
        input=bounded(usage.get("input", 0)),
        output=bounded(usage.get("output", 0)),
        cached=bounded(usage.get("cached", 0)),
        cost_pico=bounded(cost.get("total", 0)),
        unknown_cost=int(bool(usage) and not cost),
    )


def _sent(call: Json, outcome: Json) -> LaneUsage | None:
    sent_ms, lane = outcome.get("sent_ms"), outcome.get("lane")
    if not outcome.get("counted") or sent_ms is None or not lane:
        return None
    usage = outcome.get("usage") or {}
    return LaneUsage(
        lane=lane,
        model=call.get("sent_model") or call.get("model") or "",
        last=call["received_at"] + sent_ms / 1000,
        calls=1,
        input=bounded(usage.get("input", 0)),
        output=bounded(usage.get("output", 0)),
        cached=bounded(usage.get("cached", 0)),
    )


def _spent(call: Json, outcome: Json) -> Spent | None:
    """Calls that another program has made are not ours to count."""
    if outcome.get("lane") == IMPORTED:
        return None
    usage, cost = outcome.get("usage") or {"source": "unknown"}, outcome.get("cost")
    unknown = usage.get("source") == "unknown"
    amount = charged(
        status=outcome["status"],
        error=outcome.get("error"),
        http_status=outcome.get("http_status"),
        waited=outcome.get("queued_ms") is not None,
        attempts=outcome.get("attempts") or 0,
        tokens=None if unknown else bounded(usage.get("input", 0) + usage.get("output", 0)),
        pico=None if cost is None else bounded(cost.get("total", 0)),
        reserved=(bounded(call.get("reserved_tokens", 0)), bounded(call.get("reserved_pico", 0))),
    )
    if not amount.calls:
        return None
    return Spent(call["received_at"], call.get("key"), call.get("user"), call.get("agent"), amount)
