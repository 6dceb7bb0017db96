"""The metrics of this process, for Prometheus. Metrics about the database are in `relay.service.state_metrics`.

No label can grow without bound: none names an app, a push, a device or a token, and reasons are a closed set
(`relay.core.delivery.reasons`). Metrics are updated once for a request, a commit or a batch, not for each push in it.

With `serve --workers` the values are in files that all workers share: see `processes`. Gauges are then summed over the
living workers.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

disable_created_metrics()  # type: ignore[no-untyped-call]
REGISTRY = CollectorRegistry()
"""All metrics below. Those of libraries and of prometheus-client itself are left out."""
_SHORT_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_LONG_SECONDS = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 86_400)
_GROUP_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)

# --- pushes: see `counts`, which counts them ---

ACCEPTED = Counter(
    "push_relay_accepted_pushes",
    "Pushes that were accepted: each is one request.",
    ["kind"],
    registry=REGISTRY,
)
"""`kind`: "push", "broadcast" (to every customer of an app), "channel"."""
TARGETS = Counter(
    "push_relay_accepted_targets", "Copies that accepted pushes are to reach.", registry=REGISTRY
)
OUTCOMES = Counter(
    "push_relay_outcomes",
    "Targets that have ended, by outcome and Apple's reason.",
    ["outcome", "reason"],
    registry=REGISTRY,
)
"""`outcome`: "delivered", "failed", "unregistered", "expired", "cancelled"."""
RETRIES = Counter(
    "push_relay_retries", "Targets that are tried again, by reason.", ["reason"], registry=REGISTRY
)
CHANNEL_DELIVERIES = Counter(
    "push_relay_channel_deliveries",
    "Pushes to one of Apple's broadcast channels that have ended.",
    ["outcome", "reason"],
    registry=REGISTRY,
)
RETIREMENTS = Counter(
    "push_relay_device_tokens_retired",
    "Device tokens that were retired because of what Apple answered.",
    ["reason"],
    registry=REGISTRY,
)
PUSH_SECONDS = Histogram(
    "push_relay_push_seconds",
    "From a push's acceptance to its written outcome: the slowest push of each settlement.",
    buckets=_LONG_SECONDS,
    registry=REGISTRY,
)
GROUP_SIZE = Histogram(
    "push_relay_group_commit_size",
    "How much one commit stores: requests (intake), batches (settlement).",
    ["stage"],
    buckets=_GROUP_SIZES,
    registry=REGISTRY,
)
IN_FLIGHT = Gauge(
    "push_relay_in_flight",
    "Targets that are being sent and have no written outcome.",
    multiprocess_mode="livesum",
    registry=REGISTRY,
)

# --- Apple ---

APNS_SECONDS = Histogram(
    "push_relay_apns_seconds",
    "From handing pushes to the connections to the last answer: small sends (100 pushes at most), bulk ones.",
    ["size"],
    buckets=_SHORT_SECONDS,
    registry=REGISTRY,
)
APNS_CONNECTS = Counter(
    "push_relay_apns_connects", "Attempts to open a connection to Apple.", ["result"], registry=REGISTRY
)
APNS_EVICTIONS = Counter(
    "push_relay_apns_evictions",
    "Idle connections to Apple that were closed to make room for other teams.",
    registry=REGISTRY,
)
APNS_OPENING_SECONDS = Histogram(
    "push_relay_apns_opening_seconds",
    "From the wish for a connection to Apple until it is open: waiting for its turn, and the handshake.",
    buckets=_SHORT_SECONDS,
    registry=REGISTRY,
)
APNS_CONNECTIONS = Gauge(
    "push_relay_apns_connections",
    "Open connections to Apple.",
    multiprocess_mode="livesum",
    registry=REGISTRY,
)
APNS_STREAMS = Gauge(
    "push_relay_apns_streams",
    "Requests to Apple that wait for their answer.",
    multiprocess_mode="livesum",
    registry=REGISTRY,
)
JWT_RENEWALS = Counter(
    "push_relay_jwt_renewals", "Provider tokens (JWT) that were signed.", registry=REGISTRY
)
SUSPENSIONS = Counter(
    "push_relay_credential_suspensions",
    "Credentials that were suspended because Apple refused them.",
    ["reason"],
    registry=REGISTRY,
)

# --- the database ---

DATABASE_CONNECTIONS = Gauge(
    "push_relay_database_connections",
    "Connections to PostgreSQL by state: in_use, idle.",
    ["state"],
    multiprocess_mode="livesum",
    registry=REGISTRY,
)
DATABASE_CONNECTIONS_LIMIT = Gauge(
    "push_relay_database_connections_limit",
    "Connections that the pools may open: the setting database.connections, for each process.",
    multiprocess_mode="livesum",
    registry=REGISTRY,
)
DATABASE_WAIT_SECONDS = Histogram(
    "push_relay_database_wait_seconds",
    "How long a statement waited for a connection of the pool.",
    buckets=_SHORT_SECONDS,
    registry=REGISTRY,
)

# --- callers and webhooks ---

HTTP_SECONDS = Histogram(
    "push_relay_http_request_seconds",
    "Requests by route, method and class of status, and how long their answers took.",
    ["route", "method", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
    registry=REGISTRY,
)
WEBHOOK_MESSAGES = Counter(
    "push_relay_webhook_messages",
    "Attempts to deliver a message to a webhook: taken, failed.",
    ["result"],
    registry=REGISTRY,
)
