"""Settings: a YAML file, then the environment; an unknown key is an error.

Every setting can be overridden by an environment variable: PUSH_RELAY_ and the path in capitals, parts joined by
two underscores, for example PUSH_RELAY_DATABASE__URL. Values of variables are read as YAML.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml
from msgspec import Meta

from relay.core.sending import Environment

Port = Annotated[int, Meta(ge=0, le=65_535)]
Seconds = Annotated[float, Meta(gt=0, le=365 * 86_400)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]

PREFIX = "PUSH_RELAY_"


class SettingsError(Exception):
    """A setting is unknown, missing or has the wrong form. The message names it and says what would do."""


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class Http(_Section, frozen=True, kw_only=True):
    """Where the relay listens, and what a caller may take of it. `port` 0 takes a free one.

    `max_connections` are those of one process. Seconds: the head of a request must be complete `header_timeout` after
    the connection, or after its first byte; its body `body_timeout` after that; and an answer must be taken within
    `answer_timeout`. A connection between two requests is none of these.
    """

    host: str = "127.0.0.1"
    port: Port = 8080
    max_body: Annotated[int, Meta(ge=1)] = 4 * 1024 * 1024
    max_connections: Count = 4096
    header_timeout: Seconds = 20.0
    body_timeout: Seconds = 60.0
    answer_timeout: Seconds = 60.0


class Database(_Section, frozen=True, kw_only=True):
    """`url` of a PostgreSQL (14 or newer); empty: the embedded one, its data in `embedded`."""

    url: str = ""
    embedded: str = "var/postgres"
    connections: Count = 8

    def __repr__(self) -> str:
        return "Database(…)"  # the URL may hold a password


class ApnsEndpoint(_Section, frozen=True, kw_only=True):
    """One of Apple's two hosts, or a stand-in. `ca_file` replaces the system's trusted authorities."""

    host: str
    port: Port = 443
    ca_file: str | None = None


class Apns(_Section, frozen=True, kw_only=True):
    """The way to Apple. Seconds throughout."""

    production: ApnsEndpoint = ApnsEndpoint(host="api.push.apple.com")
    sandbox: ApnsEndpoint = ApnsEndpoint(host="api.sandbox.push.apple.com")
    max_connections: Count = 2
    connect_timeout: Seconds = 10.0
    response_timeout: Seconds = 30.0


class Keys(_Section, frozen=True, kw_only=True):
    """Secrets, each list oldest to newest: the last one signs or encrypts, all are accepted.

    `udid` is one key for ever: UDIDs are kept as digests under it. Empty: all are read from `file`, which is made
    with random keys at the first start.
    """

    file: str = "var/keys.yaml"
    identifiers: tuple[str, ...] = ()
    installations: tuple[str, ...] = ()
    credentials: tuple[str, ...] = ()
    udid: str = ""

    def __repr__(self) -> str:
        return "Keys(…)"


class Dispatch(_Section, frozen=True, kw_only=True):
    """How batches are worked off. Seconds, unless said otherwise."""

    batch_size: Annotated[int, Meta(ge=1, le=10_000)] = 2000
    lease: Seconds = 30.0
    poll: Seconds = 1.0
    settle_interval: Seconds = 0.2
    in_flight: Annotated[int, Meta(ge=4, le=1_000_000)] = 20_000
    retry_first: Seconds = 5.0
    retry_longest: Seconds = 900.0
    keep: Seconds = 86_400.0
    immediate_window: Seconds = 10.0

    def __post_init__(self) -> None:
        if self.in_flight < 2 * self.batch_size:  # a quarter of it is kept free for small batches
            raise ValueError("dispatch.in_flight must be at least twice dispatch.batch_size")
        if self.retry_longest < self.retry_first:
            raise ValueError("dispatch.retry_longest must not be less than dispatch.retry_first")


class Limits(_Section, frozen=True, kw_only=True):
    """What one caller may ask of the others' relay.

    `pushes_per_second` and `burst`: requests to /v1.0/send/ with one push token, in each process. `queued_batches`: how
    much of one app may wait; a push to more than `dispatch.batch_size` devices is several batches.
    """

    pushes_per_second: Annotated[float, Meta(gt=0, le=1_000_000)] = 1000.0
    burst: Count = 10_000
    queued_batches: Count = 100_000


class Settings(_Section, frozen=True, kw_only=True):
    """All settings. `retention_days`: how long pushes and their outcomes are kept; `audit_days`: who did what."""

    http: Http = Http()
    database: Database = Database()
    apns: Apns = Apns()
    keys: Keys = Keys()
    dispatch: Dispatch = Dispatch()
    limits: Limits = Limits()
    retention_days: Annotated[int, Meta(ge=1, le=36_500)] = 30
    audit_days: Annotated[int, Meta(ge=1, le=36_500)] = 365
    log: Literal["debug", "info", "warning", "error", "critical"] = "info"

    def __post_init__(self) -> None:
        if self.dispatch.keep >= self.retention_days * 86_400:
            raise ValueError("dispatch.keep (seconds) must be shorter than retention_days")


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Settings from `path` (None: defaults) overridden by `environ`. Raises SettingsError."""
    tree: Any = {}
    if path is not None:
        tree = _read_yaml_file(path) or {}
        if not isinstance(tree, dict):
            raise SettingsError(f"{path}: the settings must be a mapping of sections")
    for name, value in environ.items():
        if name.startswith(PREFIX) and name not in _NOT_SETTINGS:
            _override(tree, name.removeprefix(PREFIX).lower().split("__"), value, name)
    try:
        return msgspec.convert(tree, Settings)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{path or 'environment'}: {_without_values(error)}") from None


_NOT_SETTINGS = {f"{PREFIX}CONFIG", f"{PREFIX}URL", f"{PREFIX}TOKEN"}
"""Variables of the command line: which settings file, which relay, which API token."""


def _override(tree: dict[str, Any], path: list[str], value: str, name: str) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):
            raise SettingsError(f"{name}: {part} is not a section")
    tree[path[-1]] = _read_yaml(value, name)


def _read_yaml_file(path: Path) -> Any:
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


def _without_values(error: msgspec.ValidationError) -> str:
    """msgspec's message names types, ranges and fields. A field that it does not know may be a misplaced secret."""
    return _ODD_FIELD.sub(r"unknown field\1", str(error))


class KeyRing(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The secret keys in use. See Keys for their order."""

    identifiers: tuple[str, ...]
    installations: tuple[str, ...]
    credentials: tuple[str, ...]
    udid: str

    def __repr__(self) -> str:
        return "KeyRing(…)"

    def __post_init__(self) -> None:
        for name in ("identifiers", "installations", "credentials"):
            if not getattr(self, name):
                raise ValueError(f"keys.{name} needs at least one key")
        for key in (*self.identifiers, *self.installations, *self.credentials, self.udid):
            if len(key) < 32:
                raise ValueError("every key needs at least 32 characters: openssl rand -hex 32")


def key_ring(keys: Keys) -> KeyRing:
    """The keys of the settings or, where none are given there, of the key file. Raises SettingsError."""
    given = {
        name: getattr(keys, name)
        for name in ("identifiers", "installations", "credentials", "udid")
        if getattr(keys, name)
    }
    try:
        if given:
            return msgspec.convert(given, KeyRing)
        path = Path(keys.file)
        if not path.exists():
            _make_key_file(path)
        return msgspec.convert(_read_yaml_file(path), KeyRing)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{'keys' if given else keys.file}: {_without_values(error)}") from None
    except OSError as error:
        raise SettingsError(f"cannot make the key file {keys.file}: {error.strerror}") from None


def _make_key_file(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    made = {
        "identifiers": [secrets.token_hex(32)],
        "installations": [secrets.token_hex(32)],
        "credentials": [secrets.token_hex(32)],
        "udid": secrets.token_hex(32),
    }
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(
            "# The relay's secret keys, oldest to newest. Losing this file loses every identifier: back it up.\n"
        )
        yaml.safe_dump(made, file)


def endpoint(apns: Apns, environment: Environment) -> ApnsEndpoint:
    """The host that serves `environment`."""
    return apns.production if environment is Environment.PRODUCTION else apns.sandbox
