"""Every error that llmqd raises, as one tree; each refusal carries its HTTP status and its public code.

LlmqdError
├── ConfigError           the configuration cannot be used; says every fault
├── LaneDead              a lane's worker loop has ended; nobody gets a turn there
├── ListenError           an address cannot be listened on
├── DaemonUnreachable     a command finds no running daemon
├── DaemonRefused         the running daemon says no to a command
├── KeyFileError          the file of client keys cannot be read or written
├── PluginError           what another package adds cannot be used
├── SourceError           a database that calls are imported from cannot be read
├── TelemetryError        traces cannot be sent
├── StoreError            the database cannot be used
│   └── NewerDatabase     written by a newer llmqd
└── CallRefused           llmqd answers instead of an upstream (status, code, retry hints)
    ├── BadRequest            400 bad_request
    ├── BadHeader             400 bad_header
    ├── MissingEndpoint       400 missing_endpoint
    ├── InvalidKey            401 invalid_key
    ├── NotAllowed            403 not_allowed
    ├── UnknownUpstream       404 unknown_upstream
    ├── NotFound              404 not_found
    ├── MethodNotAllowed      405 method_not_allowed
    ├── BodyTooLarge          413 body_too_large
    ├── TooLargeForLimit      413 request_too_large_for_limit
    ├── QueueFull             429 queue_full
    ├── DeadlineExceeded      429 deadline_exceeded
    ├── WouldExceedDeadline   429 would_exceed_deadline
    ├── BudgetExceeded        429 budget_exceeded
    ├── TooManyAttempts       429 too_many_attempts
    ├── UpstreamUnreachable   502 upstream_unreachable
    ├── UpstreamTimeout       504 upstream_timeout
    ├── ShuttingDown          503 shutting_down
    ├── Cancelled             499 cancelled
    ├── AlreadyRunning        409 already_running
    ├── BadBody               400 bad_body
    ├── BadField              422 bad_field
    └── LedgerUnavailable     503 ledger_unavailable
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


class PluginError(LlmqdError):
    """What another package adds to llmqd cannot be used."""


class TelemetryError(LlmqdError):
    """Traces could not be sent; the text says what the receiver did."""


class ListenError(LlmqdError):
    """An address cannot be listened on; the text says which, why, and what to do."""


class DaemonUnreachable(LlmqdError):
    """A command that asks the running daemon finds none; the text says where it looked, why there, and what to do."""


class DaemonRefused(LlmqdError):
    """The running daemon answered a command with an error, which the text is."""


class KeyFileError(LlmqdError):
    """The file of client keys cannot be read or written; the text says why."""


class SourceError(LlmqdError):
    """A database that calls are imported from cannot be reached or read; the text says what is in the way."""


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


class BadRequest(CallRefused):
    """What came is not valid HTTP."""

    status, code = 400, "bad_request"


class BadHeader(CallRefused):
    """A control header has a value that cannot be understood."""

    status, code = 400, "bad_header"


class MissingEndpoint(CallRefused):
    """A session URL with nothing behind the session id."""

    status, code = 400, "missing_endpoint"


class InvalidKey(CallRefused):
    """No key was shown, or none that may be used. `known` says that it was once a right one, so no guess."""

    status, code = 401, "invalid_key"

    def __init__(self, message: str, *, known: bool = False) -> None:
        super().__init__(message, retry=False)
        self.known = known


class NotAllowed(CallRefused):
    """Whoever calls is known, but may not do this."""

    status, code = 403, "not_allowed"


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


class RequestTimeout(CallRefused):
    """The client fell silent in the middle of its request for longer than `[server] client_timeout`."""

    status, code = 408, "request_timeout"


class TooLargeForLimit(CallRefused):
    """The call needs more tokens than a limit ever allows, so waiting could not help."""

    status, code = 413, "request_too_large_for_limit"


class QueueFull(CallRefused):
    """The lane holds as many waiting calls or bytes as its settings allow, or the caller refused to wait."""

    status, code = 429, "queue_full"


class DeadlineExceeded(CallRefused):
    """The longest wait passed without a turn."""

    status, code = 429, "deadline_exceeded"


class WouldExceedDeadline(CallRefused):
    """The wait ahead is longer than the caller is willing to wait; said at once instead of after the wait."""

    status, code = 429, "would_exceed_deadline"


class BudgetExceeded(CallRefused):
    """A budget is used up; the text says which, how much of it, and when it begins anew."""

    status, code = 429, "budget_exceeded"


class TooManyAttempts(CallRefused):
    """Too many wrong keys came from one address."""

    status, code = 429, "too_many_attempts"


class UpstreamUnreachable(CallRefused):
    """No answer came: DNS, connection, TLS or protocol failure before the first byte of the answer."""

    status, code = 502, "upstream_unreachable"


class StaleConnection(UpstreamUnreachable):
    """A kept connection ended as one does that the upstream had closed before the call came: it may be sent again."""


class UpstreamTimeout(CallRefused):
    """The upstream was silent for longer than its `timeout`."""

    status, code = 504, "upstream_timeout"


class ShuttingDown(CallRefused):
    """The daemon is stopping; a retry reaches its successor."""

    status, code = 503, "shutting_down"

    def __init__(
        self,
        message: str = "llmqd is shutting down; try again",
        *,
        retry_after: float | None = 1.0,
        retry: bool | None = True,
        position: int | None = None,
        eta: float | None = None,
    ) -> None:
        super().__init__(message, retry_after=retry_after, retry=retry, position=position, eta=eta)


class Cancelled(CallRefused):
    """An operator has taken this call out of the queue.

    Never to be retried: 499 is what google.rpc.Code gives CANCELLED, and a status that no official SDK retries.
    """

    status, code = 499, "cancelled"


class AlreadyRunning(CallRefused):
    """A call has its turn already, so its place in the queue cannot be changed any more."""

    status, code = 409, "already_running"


class BadBody(CallRefused):
    """The body of a request to one of llmqd's own URLs is not a JSON object."""

    status, code = 400, "bad_body"


class BadField(CallRefused):
    """A field or query parameter of a request to one of llmqd's own URLs has no usable value; names it.

    `param` is its bare name, where that is known.
    """

    status, code = 422, "bad_field"

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


def bad(field: str, why: str) -> BadField:
    """The refusal of a field, which it names."""
    return BadField(f"{field}: {why}", param=field)


class LedgerUnavailable(CallRefused):
    """A question to the ledger that its database cannot answer now, or not in the time that it may take."""

    status, code = 503, "ledger_unavailable"
