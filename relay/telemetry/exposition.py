"""The text form of metrics, which Prometheus reads."""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from relay.telemetry.metrics import REGISTRY
from relay.telemetry.processes import VARIABLE


def exposition(more: Collector, accept: str) -> tuple[bytes, str]:
    """Return (body, Content-Type) of the metrics of this process or of all workers, and of the collector `more`.

    `accept` is the header of that name. It selects Prometheus's text format or OpenMetrics.
    """
    registry = CollectorRegistry()
    if VARIABLE in os.environ:
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    else:
        registry.register(REGISTRY)
    registry.register(more)
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type
