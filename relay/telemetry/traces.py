"""Traces: where the time of a request and of a push goes, for an OpenTelemetry collector.

**The trace id of a push is its push id**, a UUIDv7 and so 16 bytes that are as random as the recommendation wants them
(W3C Trace Context, Level 2). Every node can name the trace of a push without having been told: nothing is stored for
it, and nothing travels with a batch. A push's own trace begins with the span of its acceptance, whose id follows from
the push id too; a request has a trace of its own, or goes on with its caller's, and links to those of its pushes.

Without a collector there are no spans, and nothing of OpenTelemetry is imported. Ask `on` before anything else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol
from uuid import UUID

Value = str | int | float
LINKS = 128
"""To so many pushes a span of work for several of them links: as many as OpenTelemetry keeps."""


class Span(Protocol):
    """A piece of work that has begun."""

    def set_attribute(self, key: str, value: Value) -> object:
        """Say something of it."""

    def end(self) -> object:
        """It has ended."""


class Traces:
    """Makes spans, all of them without secrets: ids, counts, routes. This one makes none."""

    on = False
    """Whether spans are made."""

    def request(
        self, method: str, route: str | None, request_id: str, headers: Mapping[str, str]
    ) -> AbstractContextManager[Span]:
        """A request that is answered. It goes on with the trace of its `traceparent` header, if there is one."""
        return _nothing()

    def push(self, push_id: UUID) -> AbstractContextManager[Span]:
        """The acceptance of a push: the first span of its trace. The request's span is told of it."""
        return _nothing()

    def batch(self, push_id: UUID, attributes: Mapping[str, Value]) -> Span:
        """A batch on its way to Apple: a span in the trace of its push, which whoever asked for it has to end."""
        return _NO_SPAN

    def work(self, name: str, pushes: Iterable[UUID]) -> AbstractContextManager[Span]:
        """Work for several pushes at once, with a link to each of their traces."""
        return _nothing()

    def close(self, patience: float) -> None:
        """Send what is left, in so many seconds. It blocks: call it in a thread."""


class _NoSpan:
    def set_attribute(self, key: str, value: Value) -> object:
        return None

    def end(self) -> object:
        return None


_NO_SPAN = _NoSpan()
NO_TRACES = Traces()


@contextmanager
def _nothing() -> Iterator[Span]:
    yield _NO_SPAN
