"""What the journal says: a run began, a call opened or closed, calls belong elsewhere, something is to be remembered.

Each entry is one JSON object, `{"v":1,"e":"run"|"open"|"close"|"regroup"|"note",…}`. A `close` carries the whole record
and not only its outcome, so that it stands alone where the matching `open` was never written or cannot be read. Its
member `said` is the transcript: what was said and may not be in the database yet.
"""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

from llmqd.budgets.charge import Amount, charged
from llmqd.call import Call, Outcome, Record
from llmqd.errors import StoreError
from llmqd.messages.transcript import encode_transcript
from llmqd.store.columns import Row, bounded, call_row, outcome_row, read_call, read_outcome, within
from llmqd.store.spoken import NOTHING_SAID, Spoken, spoken, spoken_in
from llmqd.usage import LaneUsage

VERSION = 1
_encode = msgspec.json.Encoder().encode
_NOT_JSON = (TypeError, ValueError, OverflowError)
"""What half a surrogate pair, a number beyond 64 bits, and a value of another type raise."""
_OPENED = b'{"v":1,"e":"open","call":{"id":"'
IMPORTED = "litellm"
"""The lane of calls that were imported."""


class Run(msgspec.Struct, frozen=True, gc=False):
    """A daemon began to write: calls that another run left open have died with it."""

    id: str


class Seen(msgspec.Struct, frozen=True, gc=False):
    """The session that an entry touches, and when (Unix seconds)."""

    session: str
    source: str
    first: float
    last: float


class Opened(msgspec.Struct, frozen=True, gc=False):
    """A call was dispatched. `row` holds the values of OPENED_COLUMNS."""

    id: str
    seen: Seen | None
    row: Row


class Tally(msgspec.Struct, frozen=True, gc=False):
    """What one closed call adds to its session."""

    requests: int
    errors: int
    input: int = 0
    output: int = 0
    cached: int = 0
    cost_pico: int = 0
    unknown_cost: int = 0


class Spent(msgspec.Struct, frozen=True, gc=False):
    """What a call that came at `at` (Unix seconds) counts for in budgets, and whose it is."""

    at: float
    key: str | None
    user: str | None
    agent: str | None
    amount: Amount


class Closed(msgspec.Struct, frozen=True, gc=False):
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


class Regrouped(msgspec.Struct, frozen=True, gc=False):
    """Calls of some sessions belong to the session `into` from now on.

    Those with ids from `first` on and before `until`; None: those that are yet to come, too. `at` is when it was said,
    in Unix seconds, and tells it from others of the same kind.
    """

    sessions: tuple[str, ...]
    into: str
    at: float
    first: str = ""
    until: str | None = None


class Noted(msgspec.Struct, frozen=True, gc=False):
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
    try:
        return b'{"v":1,"e":"open","call":%b,"lane":%b,"queued_ms":%b}' % (
            _encode(record.call),
            _encode(outcome.lane),
            _encode(outcome.queued_ms),
        )
    except _NOT_JSON:
        entry = {"v": VERSION, "e": "open", "call": record.call, "lane": outcome.lane, "queued_ms": outcome.queued_ms}
        return orjson.dumps(_plain(entry))


def opened_id(payload: bytes) -> str | None:
    """The id of the call whose beginning an entry tells; None for other entries, and for one that has to be read."""
    if not payload.startswith(_OPENED):
        return None
    id_ = payload[len(_OPENED) : payload.find(b'"', len(_OPENED))]
    return id_.decode() if id_.isalnum() else None


def encode_closed(record: Record) -> bytes:
    """The entry for a call that has ended."""
    return closed(record)[0]


def closed(record: Record) -> tuple[bytes, Closed | None]:
    """The same, and what `decode` makes of it where that can be told without reading it."""
    transcript = record.transcript
    said = b"" if transcript is None else b',"said":%b' % encode_transcript(transcript)
    try:
        call, outcome = _encode(record.call), _encode(record.outcome)
    except _NOT_JSON:
        call, outcome = orjson.dumps(_plain(record.call)), orjson.dumps(_plain(record.outcome))
        return b'{"v":1,"e":"close","call":%b,"outcome":%b%b}' % (call, outcome, said), None
    entry = b'{"v":1,"e":"close","call":%b,"outcome":%b%b}' % (call, outcome, said)
    spoken = None if transcript is None else spoken_in(transcript)
    if record.outcome.status == "running" or (spoken is None and transcript is not None):
        return entry, None
    return entry, _closed(record.call, record.outcome, spoken)


def encode_regrouped(entry: Regrouped) -> bytes:
    """The entry that merges sessions or splits one."""
    return orjson.dumps({"v": VERSION, "e": "regroup", **msgspec.structs.asdict(entry)})


def _plain(value: Any) -> Any:
    """The value without what JSON in UTF-8 cannot hold: lone surrogates, whole numbers beyond 64 bits, other types."""
    match value:
        case None | bool() | float():
            return value
        case msgspec.Struct():
            return _plain(msgspec.structs.asdict(value))
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
                return _opened(read_call(data["call"]), data.get("lane"), data.get("queued_ms"))
            case "close":
                return _closed(read_call(data["call"]), read_outcome(data["outcome"]), spoken(data.get("said")))
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


def _opened(call: Call, lane: str | None, queued_ms: float | None) -> Opened:
    return Opened(call.id, _seen(call, None), (*call_row(call), lane, queued_ms))


def _closed(call: Call, outcome: Outcome, said: Spoken | None) -> Closed:
    if outcome.status == "running":
        # A close ends the call whatever its writer forgot to say.
        outcome.status = "failed"
    outcome = within(outcome)
    row = (*call_row(call), *outcome_row(outcome), *(NOTHING_SAID if said is None else said.row))
    seen = _seen(call, outcome.total_ms)
    return Closed(call.id, seen, row, _tally(outcome), _sent(call, outcome), said, _spent(call, outcome))


def _seen(call: Call, total_ms: float | None) -> Seen | None:
    session, received = call.session, call.received_at
    if not session.id:
        return None
    return Seen(session.id, session.source, received, received + (total_ms or 0.0) / 1000)


def _tally(outcome: Outcome) -> Tally:
    """A call that the upstream answered with 2xx is a request, even if it was cut later; any other is an error."""
    answered = 200 <= (outcome.http_status or 0) < 300
    usage, cost = outcome.usage, outcome.cost
    if usage is None:
        return Tally(+answered, +(not answered))
    pico, unpriced = (0, 1) if cost is None else (cost.total, 0)
    return Tally(+answered, +(not answered), usage.input, usage.output, usage.cached, pico, unpriced)


def _sent(call: Call, outcome: Outcome) -> LaneUsage | None:
    sent_ms, lane, usage = outcome.sent_ms, outcome.lane, outcome.usage
    if not outcome.counted or sent_ms is None or not lane:
        return None
    sent = call.received_at + sent_ms / 1000
    model = call.limited_as or ""
    if usage is None:
        return LaneUsage(lane, model, sent, 1, 0, 0, 0)
    return LaneUsage(lane, model, sent, 1, usage.input, usage.output, usage.cached)


def _spent(call: Call, outcome: Outcome) -> Spent | None:
    """Calls that another program has made are not ours to count."""
    if outcome.lane == IMPORTED:
        return None
    usage, cost = outcome.usage, outcome.cost
    amount = charged(
        status=outcome.status,
        error=outcome.error,
        http_status=outcome.http_status,
        waited=outcome.queued_ms is not None,
        attempts=outcome.attempts or 0,
        tokens=None if usage is None or usage.source == "unknown" else bounded(usage.input + usage.output),
        pico=None if cost is None else cost.total,
        reserved=(bounded(call.reserved_tokens), bounded(call.reserved_pico)),
    )
    if not amount.calls:
        return None
    return Spent(call.received_at, call.key, call.user, call.agent, amount)
