"""Spans for an OpenTelemetry collector, over OTLP/HTTP. Imported only where one is configured."""

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

from relay.telemetry.build import VERSION
from relay.telemetry.traces import LINKS, Span, Traces, Value

_RANDOM_BITS = 56
"""The last bits of a trace id, which are random: W3C Trace Context, Level 2. Those of a UUIDv7 are."""


class OtlpTraces(Traces):
    """Sends spans to the collector at `endpoint` (its base URL), from a thread of its own.

    `sample`: the part of all traces that is made. What becomes of a push's trace follows from its id, so that all nodes
    agree. What the collector does not take in time is lost, and holds up nothing.
    """

    on = True

    def __init__(self, endpoint: str, sample: float, node: UUID) -> None:
        about = {
            "service.name": os.environ.get("OTEL_SERVICE_NAME", "push-relay"),
            "service.version": VERSION,
            "service.instance.id": str(node),
        }
        self._sampler = _Sampler(sample)
        self._ids = _Ids()
        self._provider = TracerProvider(
            sampler=ParentBased(self._sampler),
            resource=Resource.create(about),
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
        """A request that is answered. It goes on with the trace of its `traceparent` header, if there is one."""
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
        """The acceptance of a push: the first span of its trace. The request's span is told of it."""
        asked = get_current_span()
        root = self._root(push_id)
        if asked.is_recording():
            asked.add_link(root)
            asked.set_attribute("push_relay.push_id", str(push_id))
        links = [Link(asked.get_span_context())] if asked.get_span_context().is_valid else []
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
        """A batch on its way to Apple: a span in the trace of its push, which whoever asked for it has to end."""
        return self._tracer.start_span(
            "send batch",
            context=set_span_in_context(NonRecordingSpan(self._root(push_id)), Context()),
            kind=SpanKind.CLIENT,
            attributes={"push_relay.push_id": str(push_id), **attributes},
        )

    @contextmanager
    def work(self, name: str, pushes: Iterable[UUID]) -> Iterator[Span]:
        """Work for several pushes at once, with a link to each of their traces."""
        links = [Link(self._root(push_id)) for push_id in islice(dict.fromkeys(pushes), LINKS)]
        span = self._tracer.start_span(name, context=Context(), links=links)
        try:
            yield span
        finally:
            span.end()

    def close(self, patience: float) -> None:
        """Send what is left, in so many seconds. It blocks: call it in a thread."""
        ending = threading.Thread(target=self._provider.shutdown, daemon=True)
        ending.start()
        ending.join(patience)

    def _root(self, push_id: UUID) -> SpanContext:
        """The first span of a push's trace, as every node can name it."""
        sampled = self._sampler.samples(push_id.int)
        flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
        # The last half of a UUID is never zero, which would be no span id.
        return SpanContext(push_id.int, push_id.int & (1 << 64) - 1, is_remote=True, trace_flags=flags)


class _Ids(RandomIdGenerator):
    """Random ids, but for the first span of a push's trace: `next` has its ids."""

    next: SpanContext | None = None

    def generate_trace_id(self) -> int:
        """Asked for first, and for the first span of a trace only."""
        return super().generate_trace_id() if self.next is None else self.next.trace_id

    def generate_span_id(self) -> int:
        """Asked for in the same breath: after it `next` is used up."""
        root, self.next = self.next, None
        return super().generate_span_id() if root is None else root.span_id


class _Sampler(Sampler):
    """Takes a part of all traces, by the random bits of their ids.

    OpenTelemetry's own goes by the last 64 bits; in a UUID two of them are not random, and it would take all or none.
    """

    def __init__(self, part: float) -> None:
        self._bound = round(part * (1 << _RANDOM_BITS))

    def samples(self, trace_id: int) -> bool:
        """Whether that trace is made."""
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
        """All spans of such a trace, or none."""
        if self.samples(trace_id):
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes)
        return SamplingResult(Decision.DROP)

    def get_description(self) -> str:
        """What a debugger shows."""
        return "PartOfAllTraces"
