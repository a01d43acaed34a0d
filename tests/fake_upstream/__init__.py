"""The one fake of the suite: an upstream at the network edge that plays scripts, strict where providers are strict."""

from tests.fake_upstream.limiters import (
    Concurrency,
    FixedWindow,
    Limiter,
    Limits,
    SlidingWindow,
    TokenBucket,
    quantised,
)
from tests.fake_upstream.request import Received
from tests.fake_upstream.script import (
    Answer,
    Step,
    compressed,
    crlf,
    json_answer,
    rechunked,
    sse,
    trickle,
)
from tests.fake_upstream.server import FakeUpstream

__all__ = [
    "Answer",
    "Concurrency",
    "FakeUpstream",
    "FixedWindow",
    "Limiter",
    "Limits",
    "Received",
    "SlidingWindow",
    "Step",
    "TokenBucket",
    "compressed",
    "crlf",
    "json_answer",
    "quantised",
    "rechunked",
    "sse",
    "trickle",
]
