"""Turns calls into OpenTelemetry's spans and sends them over OTLP/HTTP. Imported only where traces are wanted."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import requests
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from llmqd import __version__
from llmqd.errors import TelemetryError
from llmqd.telemetry.spans import Place, Span, call_span, renamed, steps

if TYPE_CHECKING:
    from llmqd.call import Call, Outcome
    from llmqd.config.telemetry import Telemetry as TelemetrySettings
    from llmqd.telemetry.context import TraceContext

# What it cannot send is told by us, once; the library would tell it for every batch.
logging.getLogger("opentelemetry.exporter.otlp").setLevel(logging.CRITICAL)

_NANO = 10**9


class Exporter:
    """Sends the calls of one configuration. Used by one thread; `place` says where an upstream is."""

    def __init__(self, settings: TelemetrySettings, place: Callable[[str], Place | None]) -> None:
        self._settings = settings
        self._place = place
        self._names = dict(settings.attributes)
        self._ids = _Ids()
        self._ended = _Ended()
        provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=Resource.create({"service.name": settings.service_name, "service.version": __version__}),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        provider.add_span_processor(self._ended)
        self._tracer = provider.get_tracer("llmqd", __version__)
        self._session = _Session()
        self._exporter = OTLPSpanExporter(
            endpoint=f"{settings.endpoint}/v1/traces",
            certificate_file=_certificates(settings),
            headers={name: value.reveal() for name, value in settings.headers},
            timeout=settings.timeout,
            compression=Compression.Gzip if settings.compression else Compression.NoCompression,
            session=self._session,
        )

    def send(self, calls: Iterable[tuple[Call, Outcome]]) -> None:
        """Sends the spans of these calls. Raises TelemetryError when the receiver has not taken them in time."""
        for call, outcome in calls:
            self._end(call, outcome)
        spans = self._ended.take()
        self._session.fault = None
        if spans and self._exporter.export(spans) is not SpanExportResult.SUCCESS:
            raise TelemetryError(self._session.fault or "they cannot be encoded")

    def close(self) -> None:
        """Stops a repetition that is under way; nothing is sent any more. May be called by another thread."""
        self._exporter.shutdown()

    def _end(self, call: Call, outcome: Outcome) -> None:
        context = call.trace
        assert context is not None
        whole = call_span(call, outcome, self._place(call.upstream))
        self._ids.next = int(context.span_id, 16), int(context.trace_id, 16)
        span = self._started(whole, _parent(context))
        if self._settings.steps:
            places = {name: place for name in {one.upstream for one in outcome.tried} if (place := self._place(name))}
            within = trace.set_span_in_context(span)
            for step in steps(call, outcome, places):
                self._started(step, within).end(int(step.end * _NANO))
        span.end(int(whole.end * _NANO))

    def _started(self, span: Span, context: Any) -> trace.Span:
        kind = trace.SpanKind.CLIENT if span.client else trace.SpanKind.INTERNAL
        attributes = renamed(span.attributes, self._names)
        started = self._tracer.start_span(
            span.name, context, kind, attributes, start_time=int(span.begin * _NANO), record_exception=False
        )
        if span.error is not None:
            started.set_status(trace.Status(trace.StatusCode.ERROR, span.error))
        return started


def _parent(context: TraceContext) -> Any:
    """What the SDK takes for the parent: the client's span, or nothing."""
    if context.parent_id is None:
        return trace.set_span_in_context(trace.INVALID_SPAN)
    flags, state = trace.TraceFlags(trace.TraceFlags.SAMPLED), trace.TraceState.from_header([context.state])
    trace_id, parent_id = int(context.trace_id, 16), int(context.parent_id, 16)
    parent = trace.SpanContext(trace_id, parent_id, is_remote=True, trace_flags=flags, trace_state=state)
    return trace.set_span_in_context(trace.NonRecordingSpan(parent))


class _Ids(IdGenerator):
    """Gives a span the ids that it was promised to have, where any were promised."""

    def __init__(self) -> None:
        self.next: tuple[int, int] | None = None
        self._random = RandomIdGenerator()

    def generate_span_id(self) -> int:
        if self.next is not None:
            (promised, _), self.next = self.next, None
            return promised
        drawn: int = self._random.generate_span_id()
        return drawn

    def generate_trace_id(self) -> int:
        """Asked for ahead of the span's own, where it has no parent."""
        if self.next is not None:
            return self.next[1]
        drawn: int = self._random.generate_trace_id()
        return drawn

    def is_trace_id_random(self) -> bool:
        return True


class _Ended(SpanProcessor):
    """Collects the spans that have ended."""

    def __init__(self) -> None:
        self._spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self._spans.append(span)

    def take(self) -> list[ReadableSpan]:
        spans, self._spans = self._spans, []
        return spans


class _Session(requests.Session):
    """Remembers how the last request failed, which the exporter only logs. Neither proxies nor .netrc are asked."""

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False
        self.fault: str | None = None

    def request(self, *arguments: Any, **options: Any) -> requests.Response:
        try:
            response = super().request(*arguments, **options)
        except requests.RequestException as error:
            self.fault = _told(error)
            raise
        if not response.ok:
            self.fault = f"it answered {response.status_code}"
        return response


def _told(error: requests.RequestException) -> str:
    """What happened, without the URL."""
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not trusted, or it speaks no TLS"
    if isinstance(error, requests.Timeout):
        return "it did not answer in time"
    return "it cannot be reached" if isinstance(error, requests.ConnectionError) else type(error).__name__


def _certificates(settings: TelemetrySettings) -> str | None:
    return str(settings.ca_file) if settings.ca_file is not None else _system_certificates()


@lru_cache(maxsize=1)
def _system_certificates() -> str | None:
    """The system's certificates, as all other connections use them; None: those that the library brings along."""
    return ssl.get_default_verify_paths().cafile
