"""Logging for journald or a terminal: one line or one entry a record, fields beside the message, never a secret."""

from llmqd.log.calls import call_line, log_calls
from llmqd.log.redact import RedactSecrets
from llmqd.log.setup import configure, redact_also, set_level

__all__ = ["RedactSecrets", "call_line", "configure", "log_calls", "redact_also", "set_level"]
