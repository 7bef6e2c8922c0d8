"""Traces for OpenTelemetry. Nothing else here knows of it.

All that is done for a job is one trace, whichever processes did it and with days between: its number is the beginning
of the job's tag. By the same number a share of the jobs is chosen, each with all of its spans.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import anyio
import anyio.to_thread
import structlog

from worker.config import Traces as Settings
from worker.errors import AwsError, UsageError
from worker.traces import Traces

try:
    from opentelemetry.context import Context
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
    from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, TraceFlags, Tracer, set_span_in_context
except ModuleNotFoundError as error:
    raise UsageError('traces.url needs OpenTelemetry: install modworker[otel], or write traces.url = ""') from error

EXPORT_SECONDS = 5.0  # a collector that does not answer holds up no end of a process for longer

_TAG = len("mw1.")  # before the digits of a job's tag
_TRACE_DIGITS, _SPAN_DIGITS = 32, 8  # of it


class OtelTraces(Traces):
    """Makes spans with a tracer. Of an error its code or kind is told, and nothing that it says."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    @contextmanager
    def span(self, name: str, tag: str | None = None, **about: str | int) -> Iterator[None]:
        """A span in the trace of the job with this tag, or in one of its own; lines logged meanwhile carry its id."""
        trace = _trace_of(tag) if tag else None
        with self._tracer.start_as_current_span(
            name, trace, attributes=about, record_exception=False, set_status_on_exception=False
        ) as span:
            if span.is_recording():
                with _told_to(span):
                    yield
            else:
                yield


@contextmanager
def _told_to(span: Span) -> Iterator[None]:
    with structlog.contextvars.bound_contextvars(trace_id=f"{span.get_span_context().trace_id:032x}"):
        try:
            yield
        except Exception as error:
            span.set_attribute("error.type", error.code if isinstance(error, AwsError) else type(error).__name__)
            raise


def _trace_of(tag: str) -> Context:
    """The job's trace: its spans follow one that nobody has made."""
    digits = tag[_TAG:]
    first = SpanContext(
        trace_id=int(digits[:_TRACE_DIGITS], 16),
        span_id=int(digits[_TRACE_DIGITS : _TRACE_DIGITS + _SPAN_DIGITS], 16) or 1,
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )
    return set_span_in_context(NonRecordingSpan(first))


@asynccontextmanager
async def exported(settings: Settings, worker: str) -> AsyncIterator[Traces]:
    """Send spans to the collector of the settings while the context lasts; at its end those that are left."""
    provider = TracerProvider(
        sampler=TraceIdRatioBased(settings.share),
        resource=Resource({"service.name": "modworker", "service.instance.id": worker}),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(settings.url, timeout=EXPORT_SECONDS)))
    try:
        yield OtelTraces(provider.get_tracer("modworker"))
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(provider.shutdown)
