"""One limit of a lane in one dimension: what was configured, what was learned, and the meter of what is in force."""

from __future__ import annotations

import math
from dataclasses import replace

from llmqd.config.limits import Dimension, Limits
from llmqd.lane.limiting import Reset, meter_for
from llmqd.lane.meters import Meter
from llmqd.lane.spacing import Even, Patience

_TOKENS = ("tokens_per_minute", "input_tokens_per_minute", "output_tokens_per_minute")


class Gauge:
    """One limit: what was configured, what was learned, and the meter for what is in force of both."""

    __slots__ = (
        "_evenly",
        "_made_for",
        "assumed",
        "configured",
        "dimension",
        "doubted",
        "first",
        "group",
        "in_tokens",
        "learned",
        "limits",
        "meter",
        "patience",
        "recalled",
        "reset",
        "share",
    )

    def __init__(self, dimension: Dimension, group: str, limits: Limits) -> None:
        self.dimension = dimension
        self.in_tokens = dimension in _TOKENS
        self.group = group
        self.limits = limits
        self.learned: float | None = None
        self.meter: Meter | None = None
        self.first = math.inf
        """When the meter has counted for the first time: what was sent before that it does not know by itself."""
        self.patience: Patience = None
        """As in Even."""
        self.share = 1.0
        """Part of the limit that is ours to use."""
        self.recalled = 0.0
        """How much of that it has been told."""
        self.reset: Reset | None = None
        """How the learned limit comes back, where its provider says so."""
        self._made_for: Reset | None = None
        """The same as the meter was made for it."""
        self._evenly = False
        """Whether the meter was made for a limit that is doubted."""
        self.doubted = False
        """Less was learned than is configured. Then how calls are counted, and the burst, may be wrong as well: they
        go evenly, which is safe however it is done, until something else is configured."""
        self.configure(limits)

    def configure(self, limits: Limits) -> None:
        if self.doubted and limits != self.limits:
            self.doubted = False
        self.limits = limits
        self.configured = limits.limit(self.dimension)
        self.assumed = limits.assumed and self.dimension == "requests_per_minute"

    @property
    def in_force(self) -> float:
        """0 means none."""
        limit = self._limit()
        if self.share == 1.0 or not limit:
            return limit
        return max(math.floor(limit * self.share), 1.0) if self.dimension == "max_concurrent" else limit * self.share

    def _limit(self) -> float:
        if self.learned is None:
            return self.configured
        ceiling = self.configured if self.configured and not self.assumed else math.inf
        limit = min(self.learned, ceiling)
        return limit if math.isfinite(limit) else 0.0

    def learn(
        self, amount: float | None, reset: Reset | None, used: float | None, now: float, wall_offset: float
    ) -> None:
        """A limit was learned, or (None) forgotten. `used` is what its provider says is gone of it: that is believed
        when the meter begins, or counts in another way than before."""
        before = self.meter
        self.learned, self.reset = amount, reset
        self.fit(now, wall_offset, anew=False)
        if used is not None and self.meter is not None and self.meter is not before:
            self.meter = self.new_meter(wall_offset)
            self.meter.seed(used, now)
            self.first, self.recalled = now, used

    def new_meter(self, wall_offset: float) -> Meter:
        """A meter of the limit in force that has counted nothing."""
        way = replace(self.limits, algorithm="even") if self.doubted else self.limits
        self._evenly, self._made_for = self.doubted, self._reset()
        return meter_for(self.dimension, self.in_force, way, wall_offset, self.patience, self._made_for)

    def fit(self, now: float, wall_offset: float, *, anew: bool) -> None:
        """Brings the meter in line with the limit in force; `anew` where the way of counting has changed."""
        limit = self.in_force
        if self.dimension == "requests_per_minute" and self.learned is not None and not self.assumed:
            self.doubted |= self.learned < self.configured and not isinstance(self.meter, Even)
        anew = anew or self._evenly != self.doubted or self._made_for != self._reset()
        if not limit:
            self.meter = None
        elif self.meter is None:
            self.meter = self.new_meter(wall_offset)
            self.first, self.recalled = math.inf, 0.0
        elif anew and self.dimension != "max_concurrent":
            used = self.meter.amount_used(now)
            self.meter = self.new_meter(wall_offset)
            self.meter.seed(min(used, self.meter.capacity), now)
        else:
            self.meter.retune(limit, now)

    def _reset(self) -> Reset | None:
        """How the limit in force comes back: that the provider's own does so is no matter where less is configured."""
        return self.reset if self.learned is not None and self._limit() == self.learned else None

    def recall(self, past: Meter, now: float) -> None:
        """Takes over what `past` has counted before the own meter began; what is known of it already counts once."""
        assert self.meter is not None
        amount = past.amount_used(now)
        if self.first == math.inf:
            self.meter, self.recalled = past, amount
        elif amount > self.recalled:
            self.meter.seed(amount - self.recalled, now)
            self.recalled = amount
