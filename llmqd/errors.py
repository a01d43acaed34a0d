"""Every error that llmqd raises, as one tree; each refusal carries its HTTP status and its public code.

LlmqdError
├── ConfigError           the configuration cannot be used; says every fault
├── LaneDead              a lane's worker loop has ended; nobody gets a turn there
├── ListenError           an address cannot be listened on
├── StoreError            the database cannot be used
│   └── NewerDatabase     written by a newer llmqd
└── CallRefused           llmqd answers instead of an upstream (status, code, retry hints)
    ├── BadHeader             400 bad_header
    ├── MissingEndpoint       400 missing_endpoint
    ├── UnknownUpstream       404 unknown_upstream
    ├── NotFound              404 not_found
    ├── MethodNotAllowed      405 method_not_allowed
    ├── BodyTooLarge          413 body_too_large
    ├── QueueFull             429 queue_full
    ├── DeadlineExceeded      429 deadline_exceeded
    ├── WouldExceedDeadline   429 would_exceed_deadline
    ├── UpstreamUnreachable   502 upstream_unreachable
    ├── UpstreamTimeout       504 upstream_timeout
    └── ShuttingDown          503 shutting_down
"""

from __future__ import annotations

from typing import ClassVar


class LlmqdError(Exception):
    """Any error of llmqd's own."""


class ConfigError(LlmqdError):
    """The configuration is unusable. `faults` holds one sentence a fault, each naming file, line or key."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class LaneDead(LlmqdError):
    """A worker loop has ended, which never happens unless there is a bug; the watchdog must not be fed."""


class ListenError(LlmqdError):
    """An address cannot be listened on; the text says which, why, and what to do."""


class StoreError(LlmqdError):
    """The database cannot be opened or used."""


class NewerDatabase(StoreError):
    """The database was written by a newer llmqd; using it could corrupt it."""


class CallRefused(LlmqdError):
    """llmqd answers this call itself.

    `retry_after` is in seconds. `retry` is what official SDKs obey as `x-should-retry`: True, False, or None to leave
    the decision to them. `position` and `eta` (seconds) describe the queue where it was the reason.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        retry: bool | None = None,
        position: int | None = None,
        eta: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after
        self.retry = retry
        self.position = position
        self.eta = eta


class BadHeader(CallRefused):
    """A control header has a value that cannot be understood."""

    status, code = 400, "bad_header"


class MissingEndpoint(CallRefused):
    """A session URL with nothing behind the session id."""

    status, code = 400, "missing_endpoint"


class UnknownUpstream(CallRefused):
    """The first path segment names no configured upstream, or none is configured."""

    status, code = 404, "unknown_upstream"


class NotFound(CallRefused):
    """One of llmqd's own URLs that does not exist."""

    status, code = 404, "not_found"


class MethodNotAllowed(CallRefused):
    """One of llmqd's own URLs, asked with a method that it does not have."""

    status, code = 405, "method_not_allowed"


class BodyTooLarge(CallRefused):
    """The request body is larger than `[server] max_body`."""

    status, code = 413, "body_too_large"


class QueueFull(CallRefused):
    """The lane holds as many waiting calls or bytes as its settings allow, or the caller refused to wait."""

    status, code = 429, "queue_full"


class DeadlineExceeded(CallRefused):
    """The longest wait passed without a turn."""

    status, code = 429, "deadline_exceeded"


class WouldExceedDeadline(CallRefused):
    """The wait ahead is longer than the caller is willing to wait; said at once instead of after the wait."""

    status, code = 429, "would_exceed_deadline"


class UpstreamUnreachable(CallRefused):
    """No answer came: DNS, connection, TLS or protocol failure before the first byte of the answer."""

    status, code = 502, "upstream_unreachable"


class UpstreamTimeout(CallRefused):
    """The upstream was silent for longer than its `timeout`."""

    status, code = 504, "upstream_timeout"


class ShuttingDown(CallRefused):
    """The daemon is stopping; a retry reaches its successor."""

    status, code = 503, "shutting_down"
