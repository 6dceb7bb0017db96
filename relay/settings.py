"""The settings: read from a YAML file, then from the environment. An unknown key is an error.

Each setting can be overridden by an environment variable: PUSH_RELAY_ and its path in capitals, with two underscores
between the parts, for example PUSH_RELAY_DATABASE__URL. Values of variables are read as YAML.

docs/settings.md is generated from the text below each field.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml
from msgspec import Meta

from relay.core.accounts import Environment
from relay.core.ip_addresses import Network, parse_networks

Port = Annotated[int, Meta(ge=0, le=65_535)]
Seconds = Annotated[float, Meta(gt=0, le=365 * 86_400)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]

PREFIX = "PUSH_RELAY_"


class SettingsError(Exception):
    """A setting that is unknown, missing or malformed. The message names it and what is accepted."""


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class HttpSettings(_Section, frozen=True, kw_only=True):
    """The HTTP server: its address, and limits for callers. A connection may be idle between requests."""

    host: str = "127.0.0.1"
    """Address to listen at. `0.0.0.0` stands for all IPv4 addresses of the machine, `::` for those of IPv6 too."""
    port: Port = 8080
    """Port to listen at; 0 takes a free one."""
    max_body: Annotated[int, Meta(ge=1)] = 4 * 1024 * 1024
    """Largest body of a request, in bytes."""
    max_connections: Count = 4096
    """Connections that one process accepts at a time."""
    header_timeout: Seconds = 20.0
    """Seconds for the head of a request to arrive, counted from the connection or from its first byte."""
    body_timeout: Seconds = 60.0
    """Seconds for the body of a request to arrive, after its head."""
    answer_timeout: Seconds = 60.0
    """Seconds for a caller to read an answer."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks (10.0.0.0/8) of the reverse proxies in front of the relay. X-Forwarded-For and
    X-Forwarded-Proto are trusted only from these."""

    def __post_init__(self) -> None:
        try:
            self.proxies()
        except ValueError:
            raise ValueError("http.trusted_proxies takes addresses and networks, like 10.0.0.0/8") from None

    def proxies(self) -> tuple[Network, ...]:
        """Return the networks of `trusted_proxies`. Raises ValueError."""
        return parse_networks(self.trusted_proxies)


class DatabaseSettings(_Section, frozen=True, kw_only=True):
    """The database: PostgreSQL 14 or newer."""

    url: str = ""
    """URL, such as `postgresql://relay:secret@db.internal/relay`. Without it, the embedded PostgreSQL is started."""
    embedded: str = "var/postgres"
    """Directory for the data of the embedded PostgreSQL."""
    connections: Count = 8
    """Connections of one process at most. One more receives the notices of other nodes."""
    connect_timeout: Seconds = 5.0
    """Seconds for a new connection. A database that takes longer counts as away."""
    statement_timeout: Seconds = 15.0
    """Seconds for a statement. A database that takes longer counts as away."""

    def __repr__(self) -> str:
        return "Database(…)"  # the URL may hold a password


class ApnsEndpoint(_Section, frozen=True, kw_only=True):
    """A host of Apple, or of a stand-in."""

    host: str
    """Name of the host. It is required wherever the port or the CA file is set."""
    port: Port = 443
    """Port of the host."""
    ca_file: str | None = None
    """Certificate authorities (PEM) to trust instead of the system's, for a stand-in."""


class ApnsSettings(_Section, frozen=True, kw_only=True):
    """The connections to APNs."""

    production: ApnsEndpoint = ApnsEndpoint(host="api.push.apple.com")
    """Host for pushes to copies signed for distribution."""
    sandbox: ApnsEndpoint = ApnsEndpoint(host="api.sandbox.push.apple.com")
    """Host for pushes to copies signed for development."""
    max_connections: Count = 10_000
    """Connections of one process at most. The least recently used ones close when a team without one needs it, so it
    should not be less than the number of teams that get pushes every few days."""
    connections_per_credential: Count = 2
    """Connections of one process with one credential at most: a second one is opened when the first is busy."""
    connects_per_second: Annotated[float, Meta(ge=0, le=100_000)] = 100.0
    """Connections that one process opens a second at most. Apple asks senders for many teams to space them. 0: no
    pace."""
    connect_timeout: Seconds = 10.0
    """Seconds for a new connection, including TLS."""
    response_timeout: Seconds = 30.0
    """Seconds for an answer. After that the push is sent again."""


class ChannelsSettings(_Section, frozen=True, kw_only=True):
    """The hosts that manage Apple's broadcast channels. Pushes to channels use the hosts of `apns`."""

    production: ApnsEndpoint = ApnsEndpoint(host="api-manage-broadcast.push.apple.com", port=2196)
    """Host for copies signed for distribution."""
    sandbox: ApnsEndpoint = ApnsEndpoint(host="api-manage-broadcast.sandbox.push.apple.com", port=2195)
    """Host for copies signed for development."""


class KeysSettings(_Section, frozen=True, kw_only=True):
    """The secret keys, of at least 32 characters each (`openssl rand -hex 32`), equal on all nodes.

    Lists go from the oldest to the newest key. The last one signs or encrypts; all are accepted.
    """

    file: str = "var/keys.yaml"
    """File with the keys, used if none is set here. The first start creates it with random keys. Back it up: without it
    all identifiers and stored credentials are lost."""
    identifiers: tuple[str, ...] = ()
    """Keys that sign `c_…` and `d_…`, the identifiers of customers and devices."""
    installations: tuple[str, ...] = ()
    """Keys that sign `install_` tokens."""
    credentials: tuple[str, ...] = ()
    """Keys that encrypt credentials for APNs and the secrets of webhooks."""
    udid: str = ""
    """Key of the digests of UDIDs and idempotency keys. It can never be changed."""
    alias: str = ""
    """Key of the digests of e-mail addresses. It can never be changed. Without it, as in settings of earlier versions,
    it is derived from `udid`."""

    def __repr__(self) -> str:
        return "Keys(…)"


class DispatchSettings(_Section, frozen=True, kw_only=True):
    """The dispatch of queued pushes."""

    batch_size: Annotated[int, Meta(ge=1, le=10_000)] = 2000
    """Targets of one batch at most. A push with more becomes several batches."""
    lease: Seconds = 30.0
    """Seconds for which a batch is leased to a node. After the death of a node, another sends its batches when their
    leases end. The clocks of nodes and database must agree within a third of this time."""
    poll: Seconds = 1.0
    """Seconds between two polls of the queue, unless a notice of another node comes first."""
    settle_interval: Seconds = 0.2
    """Seconds after which the outcomes of a batch are written while the rest is still being sent."""
    in_flight: Annotated[int, Meta(ge=4, le=1_000_000)] = 20_000
    """Pushes of one process on their way to Apple at most; at least twice `batch_size`."""
    retry_first: Seconds = 5.0
    """Seconds before the first retry. Each retry doubles them."""
    retry_longest: Seconds = 900.0
    """Seconds before a retry at most."""
    keep: Seconds = 86_400.0
    """Seconds after which a push without an expiration expires."""
    immediate_window: Seconds = 10.0
    """Seconds for which the relay retries a push with expiration 0, which Apple attempts once."""

    def __post_init__(self) -> None:
        if self.in_flight < 2 * self.batch_size:  # a quarter of it is reserved for small batches
            raise ValueError("dispatch.in_flight must be at least twice dispatch.batch_size")
        if self.retry_longest < self.retry_first:
            raise ValueError("dispatch.retry_longest must not be less than dispatch.retry_first")


class LimitsSettings(_Section, frozen=True, kw_only=True):
    """The limits for one caller or app."""

    pushes_per_second: Annotated[float, Meta(gt=0, le=1_000_000)] = 1000.0
    """Requests to `/v1.0/send/` with one push token, per second and process."""
    burst: Count = 10_000
    """Requests with one push token that may come at once."""
    queued_batches: Count = 100_000
    """Queued batches of one app at most. Beyond that its pushes are refused with 503; accepted pushes are never
    dropped."""


class WebhooksSettings(_Section, frozen=True, kw_only=True):
    """The delivery of messages to webhooks of publishers."""

    allow_private: bool = False
    """Whether webhooks may lead to private addresses, and use plain HTTP there: for receivers in the relay's own
    network, and for trials."""
    ca_file: str | None = None
    """Certificate authorities (PEM) to trust instead of the system's."""
    timeout: Seconds = 10.0
    """Seconds for the answer to a message."""
    retry_first: Seconds = 5.0
    """Seconds before the first retry. Each retry doubles them."""
    retry_longest: Seconds = 3600.0
    """Seconds before a retry at most."""
    keep: Seconds = 86_400.0
    """Seconds after which an undelivered message is dropped."""
    disable_after: Seconds = 3 * 86_400.0
    """Seconds without an accepted message after which a webhook is disabled."""
    waiting: Count = 100_000
    """Queued messages of one webhook at most. Beyond that the oldest are dropped and counted."""


class MetricsSettings(_Section, frozen=True, kw_only=True):
    """The metrics at /metrics, for Prometheus."""

    networks: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    """Networks (10.0.0.0/8) whose clients may read the metrics. For others the path does not exist."""

    def __post_init__(self) -> None:
        self.parsed()

    def parsed(self) -> tuple[Network, ...]:
        """Return the networks. Raises ValueError."""
        try:
            return parse_networks(self.networks)
        except ValueError:
            raise ValueError("metrics.networks must hold networks such as 10.0.0.0/8") from None


class TelemetrySettings(_Section, frozen=True, kw_only=True):
    """Traces by OpenTelemetry. They need the extra `push-relay[telemetry]`."""

    endpoint: Annotated[str, Meta(pattern="^(https?://.*)?$")] = ""
    """Base URL of a collector (OTLP over HTTP). Default: the variable OTEL_EXPORTER_OTLP_ENDPOINT. Without either, no
    traces are recorded."""
    sample: Annotated[float, Meta(ge=0, le=1)] = 1.0
    """Fraction of the traces that are recorded."""

    def __repr__(self) -> str:
        return "Telemetry(…)"  # the URL may hold a password


class ConsoleSettings(_Section, frozen=True, kw_only=True):
    """The web console at /console/."""

    enabled: bool = True
    """Whether the console is served."""


class Settings(_Section, frozen=True, kw_only=True):
    """All settings."""

    http: HttpSettings = HttpSettings()
    database: DatabaseSettings = DatabaseSettings()
    apns: ApnsSettings = ApnsSettings()
    channels: ChannelsSettings = ChannelsSettings()
    keys: KeysSettings = KeysSettings()
    dispatch: DispatchSettings = DispatchSettings()
    limits: LimitsSettings = LimitsSettings()
    webhooks: WebhooksSettings = WebhooksSettings()
    metrics: MetricsSettings = MetricsSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    console: ConsoleSettings = ConsoleSettings()
    retention_days: Annotated[int, Meta(ge=1, le=36_500)] = 30
    """Days for which pushes and their outcomes are kept."""
    audit_days: Annotated[int, Meta(ge=1, le=36_500)] = 365
    """Days for which the audit log is kept."""
    log: Literal["debug", "info", "warning", "error", "critical"] = "info"
    """Lowest level of lines that are logged, to the standard error."""
    log_format: Literal["text", "json"] = "text"
    """Format of these lines."""

    def __post_init__(self) -> None:
        if self.dispatch.keep >= self.retention_days * 86_400:
            raise ValueError("dispatch.keep (seconds) must be shorter than retention_days")
        if self.webhooks.keep > self.retention_days * 86_400:
            raise ValueError("webhooks.keep (seconds) must not be longer than retention_days")


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Return the settings of the file `path`, or the defaults for None, overridden by `environ`.

    Raises:
        SettingsError: a setting is unknown or malformed, or the file cannot be read.
    """
    tree: Any = {}
    if path is not None:
        tree = read_yaml_file(path) or {}
        if not isinstance(tree, dict):
            raise SettingsError(f"{path}: the settings must be a mapping of sections")
    for name, value in environ.items():
        if name.startswith(PREFIX) and name not in _COMMAND_VARIABLES:
            _override(tree, name.removeprefix(PREFIX).lower().split("__"), value, name)
    try:
        settings = msgspec.convert(tree, Settings)
        if (collector := environ.get(_COLLECTOR_VARIABLE)) and not settings.telemetry.endpoint:
            telemetry = msgspec.to_builtins(settings.telemetry) | {"endpoint": collector}
            settings = msgspec.structs.replace(
                settings, telemetry=msgspec.convert(telemetry, TelemetrySettings)
            )
    except msgspec.ValidationError as error:
        raise SettingsError(f"{path or 'environment'}: {without_values(error)}") from None
    return settings


_COLLECTOR_VARIABLE = "OTEL_EXPORTER_OTLP_ENDPOINT"
"""The variable's name in the specification of OpenTelemetry."""
_COMMAND_VARIABLES = {f"{PREFIX}CONFIG", f"{PREFIX}URL", f"{PREFIX}TOKEN"}
"""Variables of the command line: the settings file, the URL of the relay, the API token."""


def _override(tree: dict[str, Any], path: list[str], value: str, name: str) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):
            raise SettingsError(f"{name}: {part} is not a section")
    tree[path[-1]] = _read_yaml(value, name)


def read_yaml_file(path: Path) -> Any:
    """Return the content of a YAML file.

    Raises:
        SettingsError: the file cannot be read. The message quotes nothing of it: it may hold secrets.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: this is not UTF-8") from None
    return _read_yaml(text, str(path))


def _read_yaml(text: str, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except Exception as error:  # of several types, whose messages may quote a secret
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise SettingsError(f"{where}{place}: this is not valid YAML") from None


_SUSPICIOUS_FIELD = re.compile(r"unknown field `(?![a-z0-9_]{1,24}`).*?`( - at `\$[^`]*`)?$", re.DOTALL)


def without_values(error: msgspec.ValidationError) -> str:
    """Return the message of `error` without the name of an unknown field, which may be a misplaced secret."""
    return _SUSPICIOUS_FIELD.sub(r"unknown field\1", str(error))


def endpoint(hosts: ApnsSettings | ChannelsSettings, environment: Environment) -> ApnsEndpoint:
    """Return the host of `environment`."""
    return hosts.production if environment is Environment.PRODUCTION else hosts.sandbox
