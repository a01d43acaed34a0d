"""What happens, told to whoever listens."""

from llmqd.events.bus import EventBus, Gap, Published, Subscription
from llmqd.events.kinds import (
    EVERYTHING,
    TYPES,
    Alert,
    CallEvent,
    Cancelled,
    Event,
    Finished,
    LimitLearned,
    Paused,
    Queued,
    Refused,
    Resumed,
    Started,
    Wanted,
    wanted_types,
)

__all__ = [
    "EVERYTHING",
    "TYPES",
    "Alert",
    "CallEvent",
    "Cancelled",
    "Event",
    "EventBus",
    "Finished",
    "Gap",
    "LimitLearned",
    "Paused",
    "Published",
    "Queued",
    "Refused",
    "Resumed",
    "Started",
    "Subscription",
    "Wanted",
    "wanted_types",
]
