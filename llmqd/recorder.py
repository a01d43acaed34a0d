"""Opens and closes records: times them, prices them, writes them into the ledger, counts them and logs one line."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from llmqd import errors
from llmqd.call import Call, Outcome, Record, Status
from llmqd.events.kinds import Cancelled, Event, Finished, Refused
from llmqd.log import log_calls

if TYPE_CHECKING:
    from llmqd.errors import CallRefused
    from llmqd.metrics import Metrics
    from llmqd.prices import Prices
    from llmqd.store.ledger import Ledger
    from llmqd.store.names_redaction import NamesRedaction
    from llmqd.tap.tap import Reading

logger = logging.getLogger("llmqd.calls")


class Recorder:
    """Every call's record passes here twice. `clock` is the monotonic clock that also gave `call.arrived`.

    All of `closed` hear of each call that was sent and has ended, in the moment in which the journal has it. Metrics,
    log, and all of `ended` hear of each call that has ended, sent or not, once those who wait have been served: of all
    that have ended by then one after the other, which costs a third of what it does in the midst of other things.
    """

    def __init__(
        self,
        ledger: Ledger,
        prices: Prices,
        metrics: Metrics,
        names: NamesRedaction,
        *,
        clock: Callable[[], float],
        announce: Callable[[Event], object],
        closed: Sequence[Callable[[Record], object]] = (),
        ended: Sequence[Callable[[Record], object]] = (),
    ) -> None:
        self._ledger = ledger
        self._prices = prices
        self._metrics = metrics
        self._names = names
        self._clock = clock
        self._announce = announce
        self._closed = closed
        self._hear_ended = ended
        self._untold: list[Record] = []

    def since(self, call: Call) -> float:
        """Milliseconds since the call arrived, to the microsecond."""
        return round((self._clock() - call.arrived) * 1_000_000) / 1000

    def open(self, record: Record) -> None:
        """A call is about to be sent upstream."""
        self._ledger.opened(record)

    def close(self, record: Record, status: Status, reading: Reading | None, *, provider: str | None) -> None:
        """A call that was sent upstream has ended. `provider` is whose prices apply. A second close is ignored."""
        outcome = record.outcome
        if outcome.status != "running":
            return
        outcome.status = status
        outcome.total_ms = self.since(record.call)
        if reading is not None:
            self._read(record, reading, provider)
        self._names.answered(outcome)
        self._ledger.closed(record)
        for hears in self._closed:
            hears(record)
        self._ended(record)
        self._announce(Finished.of(record))

    def rejected(self, error: CallRefused) -> None:
        """A request was refused before it could be understood as a call: counted, not recorded."""
        self._metrics.refused(error)

    def refused(self, call: Call, error: CallRefused, lane: str | None = None) -> None:
        """A call got an answer of llmqd's own before it was sent anywhere."""
        elapsed = self.since(call)
        self._never_sent(
            Record(
                call,
                Outcome(
                    "refused", error.status, error.code, lane, queued_ms=elapsed if lane else None, total_ms=elapsed
                ),
            )
        )
        self._metrics.refused(error)
        kind = Cancelled if isinstance(error, errors.Cancelled) else Refused
        self._announce(kind.of(call, error, lane))

    def abandoned(self, call: Call, lane: str) -> None:
        """The client left while its call was waiting."""
        elapsed = self.since(call)
        record = Record(call, Outcome("abandoned", lane=lane, queued_ms=elapsed, total_ms=elapsed))
        self._never_sent(record)
        self._announce(Finished.of(record))

    async def durable(self) -> None:
        """Waits until what was closed is as durable as `[store] durability` asks."""
        await self._ledger.durable()

    def _read(self, record: Record, reading: Reading, provider: str | None) -> None:
        call, outcome = record.call, record.outcome
        outcome.usage = reading.usage
        outcome.response_model = reading.model
        outcome.provider_id = reading.provider_id
        outcome.finish_reason = reading.finish_reason
        outcome.function_calls = reading.function_calls
        if reading.error is not None and outcome.error is None:
            outcome.error = reading.error
        if reading.usage is not None:
            models = [reading.model or call.limited_as]
            if provider == "aws":
                # The id that is asked for tells the region, by which Bedrock's prices differ; the answer does not.
                models.insert(0, call.limited_as)
            try:
                for model in models:
                    outcome.cost = outcome.cost or self._prices.cost(
                        reading.usage, model=model, provider=provider, at=call.received_at
                    )
            except Exception:  # a fault in a price list must not cost the record; the price stays unknown
                logger.exception("cannot price call %s of model %s", call.id, models[-1])

    def _never_sent(self, record: Record) -> None:
        self._ledger.unsent(record)
        self._ended(record)

    def _ended(self, record: Record) -> None:
        if not self._untold:
            asyncio.get_running_loop().call_soon(self._tell)
        self._untold.append(record)

    def _tell(self) -> None:
        records, self._untold = self._untold, []
        for record in records:
            self._metrics.ended(record)
        for hears in self._hear_ended:
            for record in records:
                hears(record)
        log_calls(records)
