"""What a call is expected to take of budgets before it is sent: probably, and at most. Pure."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from llmqd.budgets.charge import Amount
from llmqd.lane.estimate import BodySize, Estimator
from llmqd.usage import Cost, Sample, Usage

if TYPE_CHECKING:
    from llmqd.call import Call, Record
    from llmqd.lane.throttle import Demand

_NO_OUTPUT = frozenset({"embeddings", "embed_content", "moderation"})
_KNOWN_AFTER = 8
"""Answers of a model after which the longest of them says something about the next."""
_LONGEST_UNKNOWN = 4096
"""Tokens that an answer has at most where neither the request nor the past says: few have more."""
_SHORTEST_MOST = 1024
_MODELS = 256
_DENSEST = 0.5
"""Tokens a byte of text at most, where a model is not known yet: code and most scripts are denser than prose."""
_AUDIO_SECONDS = 60.0
_KEPT = 64


class Pricing(Protocol):
    """How calls are priced; see Prices."""

    def cost(self, usage: Usage, *, model: str | None, provider: str | None, at: float) -> Cost | None: ...


class Expected(NamedTuple):
    """What a call probably takes, and what it takes at most. `priced` is False where its price is not known."""

    likely: Amount
    most: Amount
    priced: bool


class Expectations:
    """Learns from calls that have ended what calls to each model take."""

    def __init__(self, prices: Pricing) -> None:
        self._prices = prices
        self._estimator = Estimator(models=_MODELS)
        self._answers: OrderedDict[str, deque[int]] = OrderedDict()
        self._seeded = False

    def of(self, call: Call, demand: Demand, provider: str | None) -> Expected:
        """What to expect of a call whose price is that of `provider`."""
        model = call.limited_as
        ask = self._estimator.ask(model, demand.size, max_tokens=demand.max_tokens, choices=demand.choices)
        silent = call.operation in _NO_OUTPUT
        given, made = round(ask.input_tokens), 0 if silent else round(ask.output_tokens)
        answers = self._answers.get(model or "")
        most_given = given if answers else max(given, round(_DENSEST * demand.size.text))
        if silent:
            most_made = 0
        elif demand.max_tokens is not None:
            most_made = demand.max_tokens * demand.choices
        elif answers is not None and len(answers) >= _KNOWN_AFTER:
            most_made = max(2 * max(answers), _SHORTEST_MOST) * demand.choices
        else:
            most_made = _LONGEST_UNKNOWN * demand.choices
        cost = self._price(call, provider, given, made)
        most_cost = self._price(call, provider, most_given, most_made)
        return Expected(
            Amount(1, given + made, cost or 0),
            Amount(1, max(most_given + most_made, given + made), max(most_cost or 0, cost or 0)),
            cost is not None,
        )

    def learn(self, record: Record) -> None:
        """Takes in what a call has really used; only exact figures count."""
        usage, call = record.outcome.usage, record.call
        if usage is not None and usage.source == "exact":
            self._learn(call.limited_as, BodySize(call.text_bytes, call.media), usage)

    def seed(self, samples: Iterable[Sample]) -> None:
        """Takes in calls of an earlier time, once."""
        if not self._seeded:
            self._seeded = True
            for sample in samples:
                self._learn(sample.model, BodySize(sample.text_bytes, sample.media), sample.usage)

    def _learn(self, model: str | None, size: BodySize, usage: Usage) -> None:
        self._estimator.learn(self._estimator.ask(model, size), size, usage)
        answers = self._answers.setdefault(model or "", deque(maxlen=_KEPT))
        answers.append(usage.output)
        self._answers.move_to_end(model or "")
        if len(self._answers) > _MODELS:
            self._answers.popitem(last=False)

    def _price(self, call: Call, provider: str | None, given: int, made: int) -> int | None:
        """In picodollars. A model may be sold by its input, its output or the length of sound alone."""
        for usage in (
            Usage(input=given, output=made, source="estimated"),
            Usage(input=given, source="estimated"),
            Usage(output=made, source="estimated"),
            Usage(audio_seconds=_AUDIO_SECONDS, source="estimated"),
        ):
            cost = self._prices.cost(usage, model=call.limited_as, provider=provider, at=call.received_at)
            if cost is not None:
                return cost.total
        return None
