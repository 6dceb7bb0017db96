"""Settings: a YAML file, then the environment; an unknown key is an error.

Every setting can be overridden by an environment variable: PUSH_RELAY_ and the path in capitals, parts joined by
two underscores, for example PUSH_RELAY_DATABASE__URL. Values of variables are read as YAML.

The text below a field says what it does: docs/settings.md is made of these texts.
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
    """A setting is unknown, missing or has the wrong form. The message names it and says what would do."""


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class HttpSettings(_Section, frozen=True, kw_only=True):
    """Where the relay listens, and what a caller may take of it. Between two requests a connection may rest."""

    host: str = "127.0.0.1"
    """The address to listen at. `0.0.0.0` is all of the machine's, `::` those of IPv6 too."""
    port: Port = 8080
    """The port to listen at; 0 takes a free one."""
    max_body: Annotated[int, Meta(ge=1)] = 4 * 1024 * 1024
    """Bytes that the body of a request may have."""
    max_connections: Count = 4096
    """Connections that one process takes."""
    header_timeout: Seconds = 20.0
    """Seconds in which the head of a request must come: since the connection, or its first byte."""
    body_timeout: Seconds = 60.0
    """Seconds in which its body must come, after the head."""
    answer_timeout: Seconds = 60.0
    """Seconds in which its answer must be taken."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks (10.0.0.0/8) of the reverse proxies before the relay. What they say in X-Forwarded-For and
    X-Forwarded-Proto is believed, and nobody else's."""

    def __post_init__(self) -> None:
        try:
            self.proxies()
        except ValueError:
            raise ValueError("http.trusted_proxies takes addresses and networks, like 10.0.0.0/8") from None

    def proxies(self) -> tuple[Network, ...]:
        """The networks of `trusted_proxies`."""
        return parse_networks(self.trusted_proxies)


class DatabaseSettings(_Section, frozen=True, kw_only=True):
    """Which PostgreSQL (14 or newer) the relay works with."""

    url: str = ""
    """Its URL, as in `postgresql://relay:secret@db.internal/relay`. Empty: the embedded one is started."""
    embedded: str = "var/postgres"
    """Where the embedded PostgreSQL has its data."""
    connections: Count = 8
    """Connections of one process at most. One more, beside them, hears what other nodes tell."""
    connect_timeout: Seconds = 5.0
    """Seconds in which a new connection must be there. A database that takes longer counts as away."""
    statement_timeout: Seconds = 15.0
    """Seconds in which a statement must end. A database that takes longer counts as away."""

    def __repr__(self) -> str:
        return "Database(…)"  # the URL may hold a password


class ApnsEndpoint(_Section, frozen=True, kw_only=True):
    """One of Apple's hosts, or a stand-in."""

    host: str
    """Its name. Who changes a port or an authority names the host too."""
    port: Port = 443
    """Its port."""
    ca_file: str | None = None
    """Authorities (PEM) that are trusted instead of the system's: for a stand-in."""


class ApnsSettings(_Section, frozen=True, kw_only=True):
    """The way to Apple."""

    production: ApnsEndpoint = ApnsEndpoint(host="api.push.apple.com")
    """Where pushes to copies signed for distribution go."""
    sandbox: ApnsEndpoint = ApnsEndpoint(host="api.sandbox.push.apple.com")
    """Where pushes to copies signed for development go."""
    max_connections: Count = 2
    """Connections of one process with one credential at most."""
    connect_timeout: Seconds = 10.0
    """Seconds for a connection, TLS included."""
    response_timeout: Seconds = 30.0
    """Seconds that an answer is waited for. Without one the push is sent again."""


class ChannelsSettings(_Section, frozen=True, kw_only=True):
    """Where Apple's broadcast channels are managed. What is pushed to them goes the way of all pushes."""

    production: ApnsEndpoint = ApnsEndpoint(host="api-manage-broadcast.push.apple.com", port=2196)
    """For copies signed for distribution."""
    sandbox: ApnsEndpoint = ApnsEndpoint(host="api-manage-broadcast.sandbox.push.apple.com", port=2195)
    """For copies signed for development."""


class KeysSettings(_Section, frozen=True, kw_only=True):
    """Secrets of 32 characters and more (`openssl rand -hex 32`), the same on all nodes.

    Each list goes from the oldest to the newest: the last one signs or encrypts, all are accepted.
    """

    file: str = "var/keys.yaml"
    """Where the keys are if none is given here; made with random ones at the first start. Back it up: without it every
    identifier and every stored credential is lost."""
    identifiers: tuple[str, ...] = ()
    """These sign `c_` and `d_`, the identifiers of customers and devices."""
    installations: tuple[str, ...] = ()
    """These sign `install_` tokens."""
    credentials: tuple[str, ...] = ()
    """These encrypt what authenticates to Apple, and the secrets of webhooks."""
    udid: str = ""
    """One key, for ever: UDIDs and idempotency keys are kept as digests under it."""
    alias: str = ""
    """One key, for ever: e-mail addresses are kept as digests under it. Empty, as in settings of earlier versions, it
    follows from `udid`."""

    def __repr__(self) -> str:
        return "Keys(…)"


class DispatchSettings(_Section, frozen=True, kw_only=True):
    """How pushes are worked off."""

    batch_size: Annotated[int, Meta(ge=1, le=10_000)] = 2000
    """Copies in one batch at most: a push to more is several batches."""
    lease: Seconds = 30.0
    """Seconds that a claimed batch belongs to its node: what a dead node was sending another one sends after that.
    Clocks must agree within a third of it."""
    poll: Seconds = 1.0
    """Seconds between two looks at the queue, where no other node says that there is work."""
    settle_interval: Seconds = 0.2
    """Seconds after which what was answered of a batch is written, while the rest is under way."""
    in_flight: Annotated[int, Meta(ge=4, le=1_000_000)] = 20_000
    """Pushes that one process may have on their way to Apple; at least twice `batch_size`."""
    retry_first: Seconds = 5.0
    """Seconds before the first repetition; the wait doubles with each."""
    retry_longest: Seconds = 900.0
    """Seconds before a repetition at most."""
    keep: Seconds = 86_400.0
    """Seconds for which a push is tried that has no expiration of its own."""
    immediate_window: Seconds = 10.0
    """Seconds for which the relay tries a push with expiration 0, which Apple tries once."""

    def __post_init__(self) -> None:
        if self.in_flight < 2 * self.batch_size:  # a quarter of it is kept free for small batches
            raise ValueError("dispatch.in_flight must be at least twice dispatch.batch_size")
        if self.retry_longest < self.retry_first:
            raise ValueError("dispatch.retry_longest must not be less than dispatch.retry_first")


class LimitsSettings(_Section, frozen=True, kw_only=True):
    """What one caller may ask of the others' relay."""

    pushes_per_second: Annotated[float, Meta(gt=0, le=1_000_000)] = 1000.0
    """Requests to `/v1.0/send/` with one push token, a second, in each process."""
    burst: Count = 10_000
    """As many of them may come at once."""
    queued_batches: Count = 100_000
    """Batches of one app that may wait. Past that its pushes are refused with 503; nothing that was accepted is
    dropped."""


class WebhooksSettings(_Section, frozen=True, kw_only=True):
    """How publishers' servers are told what became of pushes."""

    allow_private: bool = False
    """Whether messages may go to addresses that are not public too, and over plain HTTP to those alone: for receivers
    in your own network, and for trying it out."""
    ca_file: str | None = None
    """Authorities (PEM) that are trusted instead of the system's."""
    timeout: Seconds = 10.0
    """Seconds for one answer."""
    retry_first: Seconds = 5.0
    """Seconds before the first repetition; the wait doubles with each."""
    retry_longest: Seconds = 3600.0
    """Seconds before a repetition at most."""
    keep: Seconds = 86_400.0
    """Seconds for which a message is tried."""
    disable_after: Seconds = 3 * 86_400.0
    """Seconds after which a webhook that has taken nothing is disabled."""
    waiting: Count = 100_000
    """Messages that may wait for one webhook; the oldest go, and are counted."""


class MetricsSettings(_Section, frozen=True, kw_only=True):
    """What the relay tells Prometheus at /metrics."""

    networks: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    """Networks (10.0.0.0/8) whose clients may read it; nobody else learns that it exists."""

    def __post_init__(self) -> None:
        self.parsed()

    def parsed(self) -> tuple[Network, ...]:
        """The networks. Raises ValueError."""
        try:
            return parse_networks(self.networks)
        except ValueError:
            raise ValueError("metrics.networks must hold networks such as 10.0.0.0/8") from None


class TelemetrySettings(_Section, frozen=True, kw_only=True):
    """Traces (OpenTelemetry). They need the extra `push-relay[telemetry]`."""

    endpoint: Annotated[str, Meta(pattern="^(https?://.*)?$")] = ""
    """The base URL of a collector (OTLP over HTTP). Empty: that of OTEL_EXPORTER_OTLP_ENDPOINT; without both none are
    made."""
    sample: Annotated[float, Meta(ge=0, le=1)] = 1.0
    """The part of all traces that is made."""

    def __repr__(self) -> str:
        return "Telemetry(…)"  # the URL may hold a password


class ConsoleSettings(_Section, frozen=True, kw_only=True):
    """The pages at /console/."""

    enabled: bool = True
    """Whether there are any."""


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
    """Days for which the log of who did what is kept."""
    log: Literal["debug", "info", "warning", "error", "critical"] = "info"
    """The level from which on lines are logged, to the standard error."""
    log_format: Literal["text", "json"] = "text"
    """The form of these lines."""

    def __post_init__(self) -> None:
        if self.dispatch.keep >= self.retention_days * 86_400:
            raise ValueError("dispatch.keep (seconds) must be shorter than retention_days")
        if self.webhooks.keep > self.retention_days * 86_400:
            raise ValueError("webhooks.keep (seconds) must not be longer than retention_days")


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Settings from `path` (None: defaults) overridden by `environ`. Raises SettingsError."""
    tree: Any = {}
    if path is not None:
        tree = read_yaml_file(path) or {}
        if not isinstance(tree, dict):
            raise SettingsError(f"{path}: the settings must be a mapping of sections")
    for name, value in environ.items():
        if name.startswith(PREFIX) and name not in _NOT_SETTINGS:
            _override(tree, name.removeprefix(PREFIX).lower().split("__"), value, name)
    try:
        settings = msgspec.convert(tree, Settings)
        if (collector := environ.get(_COLLECTOR)) and not settings.telemetry.endpoint:
            telemetry = msgspec.to_builtins(settings.telemetry) | {"endpoint": collector}
            settings = msgspec.structs.replace(
                settings, telemetry=msgspec.convert(telemetry, TelemetrySettings)
            )
    except msgspec.ValidationError as error:
        raise SettingsError(f"{path or 'environment'}: {without_values(error)}") from None
    return settings


_COLLECTOR = "OTEL_EXPORTER_OTLP_ENDPOINT"
"""What OpenTelemetry's own specification calls the variable."""
_NOT_SETTINGS = {f"{PREFIX}CONFIG", f"{PREFIX}URL", f"{PREFIX}TOKEN"}
"""Variables of the command line: which settings file, which relay, which API token."""


def _override(tree: dict[str, Any], path: list[str], value: str, name: str) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):
            raise SettingsError(f"{name}: {part} is not a section")
    tree[path[-1]] = _read_yaml(value, name)


def read_yaml_file(path: Path) -> Any:
    """Read a YAML file. Raises SettingsError, which quotes nothing of the file: it may hold secrets."""
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
    except Exception as error:  # of many types; every one may quote the text, and the text may be a secret
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise SettingsError(f"{where}{place}: this is not valid YAML") from None


_ODD_FIELD = re.compile(r"unknown field `(?![a-z0-9_]{1,24}`).*?`( - at `\$[^`]*`)?$", re.DOTALL)


def without_values(error: msgspec.ValidationError) -> str:
    """msgspec's message names types, ranges and fields. A field that it does not know may be a misplaced secret."""
    return _ODD_FIELD.sub(r"unknown field\1", str(error))


def endpoint(hosts: ApnsSettings | ChannelsSettings, environment: Environment) -> ApnsEndpoint:
    """The host that serves `environment`."""
    return hosts.production if environment is Environment.PRODUCTION else hosts.sandbox
