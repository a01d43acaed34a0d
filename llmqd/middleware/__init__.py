"""What looks on while calls pass: traces, printers, and plug-ins of the entry-point group `llmqd.middleware`."""

from llmqd.middleware.sighting import Answered, Asked, Sighting
from llmqd.middleware.watching import Middleware

__all__ = ["Answered", "Asked", "Middleware", "Sighting"]
