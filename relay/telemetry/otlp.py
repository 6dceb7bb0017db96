"""Traces for an OpenTelemetry collector, over OTLP/HTTP. Imported only if one is configured."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from uuid import UUID

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, SamplingResult
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import Attributes

from relay import __version__
from relay.telemetry.traces import MAX_LINKS, Span, Traces, Value

_RANDOM_BITS = 56
"""The last bits of a trace id, random by W3C Trace Context, Level 2. Those of a UUIDv7 are random too."""


class OtlpTraces(Traces):
    """Traces that a separate thread sends to the collector at `endpoint` (its base URL).

    `sample`: the fraction of traces that are recorded. The id of a push decides, so all nodes agree. Spans that the
    collector does not accept in time are lost, and delay nothing.
    """

    on = True

    def __init__(self, endpoint: str, sample: float, node: UUID) -> None:
        attributes = {
            "service.name": os.environ.get("OTEL_SERVICE_NAME", "push-relay"),
            "service.version": __version__,
            "service.instance.id": str(node),
        }
        self._sampler = _Sampler(sample)
        self._ids = _Ids()
        self._provider = TracerProvider(
            sampler=ParentBased(self._sampler),
            resource=Resource.create(attributes),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("push-relay")
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def request(
        self, method: str, route: str | None, request_id: str, headers: Mapping[str, str]
    ) -> Iterator[Span]:
        """Record a request. Its span continues the trace of the `traceparent` header, if there is one."""
        attributes: dict[str, Value] = {"http.request.method": method, "push_relay.request_id": request_id}
        if route is not None:
            attributes["http.route"] = route
        with self._tracer.start_as_current_span(
            f"{method} {route}" if route else method,
            context=self._propagator.extract(headers, Context()),
            kind=SpanKind.SERVER,
            attributes=attributes,
            record_exception=False,  # its text may hold a secret
            set_status_on_exception=False,
        ) as span:
            yield span

    @contextmanager
    def push(self, push_id: UUID) -> Iterator[Span]:
        """Record the acceptance of a push, the first span of its trace. The request's span links to it."""
        request = get_current_span()
        root = self._root(push_id)
        if request.is_recording():
            request.add_link(root)
            request.set_attribute("push_relay.push_id", str(push_id))
        links = [Link(request.get_span_context())] if request.get_span_context().is_valid else []
        self._ids.next = root
        span = self._tracer.start_span(
            "accept push",
            context=Context(),
            links=links,
            attributes={"push_relay.push_id": str(push_id)},
        )
        try:
            yield span
        finally:
            span.end()

    def batch(self, push_id: UUID, attributes: Mapping[str, Value]) -> Span:
        """Begin the span of sending a batch, in the trace of its push. The caller ends it."""
        return self._tracer.start_span(
            "send batch",
            context=set_span_in_context(NonRecordingSpan(self._root(push_id)), Context()),
            kind=SpanKind.CLIENT,
            attributes={"push_relay.push_id": str(push_id), **attributes},
        )

    @contextmanager
    def work(self, name: str, pushes: Iterable[UUID]) -> Iterator[Span]:
        """Record work for several pushes, with a link to the trace of each."""
        links = [Link(self._root(push_id)) for push_id in islice(dict.fromkeys(pushes), MAX_LINKS)]
        span = self._tracer.start_span(name, context=Context(), links=links)
        try:
            yield span
        finally:
            span.end()

    def close(self, patience: float) -> None:
        """Send the remaining spans within `patience` seconds. This blocks: call it in a thread."""
        shutdown = threading.Thread(target=self._provider.shutdown, daemon=True)
        shutdown.start()
        shutdown.join(patience)

    def _root(self, push_id: UUID) -> SpanContext:
        """Return the context of the first span of a push's trace, which every node can derive."""
        sampled = self._sampler.samples(push_id.int)
        flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
        # The last half of a UUID is never zero, which is no valid span id.
        return SpanContext(push_id.int, push_id.int & (1 << 64) - 1, is_remote=True, trace_flags=flags)


class _Ids(RandomIdGenerator):
    """A generator of random ids, except for the first span of a push's trace: `next` holds its ids."""

    next: SpanContext | None = None

    def generate_trace_id(self) -> int:
        """Return the trace id. Called first, and only for the first span of a trace."""
        return super().generate_trace_id() if self.next is None else self.next.trace_id

    def generate_span_id(self) -> int:
        """Return the span id. Called right after `generate_trace_id`, so it uses `next` up."""
        root, self.next = self.next, None
        return super().generate_span_id() if root is None else root.span_id


class _Sampler(Sampler):
    """A sampler that selects a fraction of traces by the random bits of their ids.

    OpenTelemetry's own sampler uses the last 64 bits. In a UUID the first two of these are fixed, so it would select
    all or none.
    """

    def __init__(self, fraction: float) -> None:
        self._bound = round(fraction * (1 << _RANDOM_BITS))

    def samples(self, trace_id: int) -> bool:
        """Return whether the trace is recorded."""
        return trace_id & (1 << _RANDOM_BITS) - 1 < self._bound

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: object = None,
    ) -> SamplingResult:
        """Record all spans of a selected trace, and none of others."""
        if self.samples(trace_id):
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes)
        return SamplingResult(Decision.DROP)

    def get_description(self) -> str:
        """Return the name shown by debuggers."""
        return "PartOfAllTraces"
