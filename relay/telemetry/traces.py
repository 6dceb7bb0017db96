"""The interface of traces: where the time of a request and of a push goes. `otlp` sends them to a collector.

**The trace id of a push is its push id**: a UUIDv7, whose bytes are as random as W3C Trace Context, Level 2, asks. So
every node knows the trace of a push, and nothing about traces is stored or travels with a batch. The trace of a push
begins with the span of its acceptance, whose id is derived from the push id too. A request has a trace of its own, or
continues its caller's, and links to the traces of its pushes.

Without a collector there are no spans, and nothing of OpenTelemetry is imported: `NO_TRACES` accepts all calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol
from uuid import UUID

Value = str | int | float
MAX_LINKS = 128
"""Pushes that a span of work for several of them links to: as many as OpenTelemetry keeps."""


class Span(Protocol):
    """A piece of work that has begun."""

    def set_attribute(self, key: str, value: Value) -> object:
        """Add an attribute."""

    def end(self) -> object:
        """End the span."""


class Traces:
    """A source of spans. This one is the null object, whose spans record nothing.

    Attributes hold ids, counts and routes, never secrets.
    """

    on = False
    """Whether spans are recorded. Check it before work that only attributes need."""

    def request(
        self, method: str, route: str | None, request_id: str, headers: Mapping[str, str]
    ) -> AbstractContextManager[Span]:
        """Return the span of a request. It continues the trace of the `traceparent` header, if there is one."""
        return _NO_SPAN_CONTEXT

    def push(self, push_id: UUID) -> AbstractContextManager[Span]:
        """Return the span of the acceptance of a push, the first of its trace. The request's span links to it."""
        return _NO_SPAN_CONTEXT

    def batch(self, push_id: UUID, attributes: Mapping[str, Value]) -> Span:
        """Return the span of sending a batch, in the trace of its push. The caller ends it."""
        return _NO_SPAN

    def work(self, name: str, pushes: Iterable[UUID]) -> AbstractContextManager[Span]:
        """Return the span of work for several pushes, with a link to the trace of each."""
        return _NO_SPAN_CONTEXT

    def close(self, patience: float) -> None:
        """Send the remaining spans within `patience` seconds. This blocks: call it in a thread."""


class _NoSpan:
    def set_attribute(self, key: str, value: Value) -> object:
        return None

    def end(self) -> object:
        return None


_NO_SPAN: Span = _NoSpan()
_NO_SPAN_CONTEXT = nullcontext(_NO_SPAN)
NO_TRACES = Traces()
