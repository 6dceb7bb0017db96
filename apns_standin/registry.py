"""Apple's registry: the keys of teams, the team of each topic, and the device tokens issued.

All of it is plain data in memory; `snapshot` and `restore` serve the state file. Times are epoch ms where the name
ends in `_ms`, else epoch seconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, Literal, get_args

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from .errors import ConflictError, InvalidError, NotFoundError
from .push_types import SUFFIX_OF_KIND, family_of_kind

Environment = Literal["production", "sandbox"]
ENVIRONMENTS: Final[tuple[Environment, ...]] = get_args(Environment)

_TEAM_ID: Final = re.compile(r"[A-Z0-9]{10}")
_BUNDLE_ID: Final = re.compile(r"[A-Za-z0-9.-]{1,155}")
# 32 characters without look-alikes: a random byte modulo 32 has no bias.
_KEY_ID_CHARACTERS: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"


class IssuedKey(msgspec.Struct, frozen=True):
    """A new signing key as the developer portal shows it once. `p8` is a PKCS #8 PEM text."""

    key_id: str
    team_id: str
    p8: str


class SigningKey(msgspec.Struct, frozen=True):
    """The public half of a team's key. `environment` None allows both environments."""

    key_id: str
    team_id: str
    environment: Environment | None
    public_key: ec.EllipticCurvePublicKey


class StandInDevice(msgspec.Struct):
    """A device token: 64 hex digits, issued for one topic in one environment."""

    token: str
    bundle_id: str
    environment: Environment
    kind: str
    topic: str
    family: str
    unregistered_ms: int | None = None


class StoredKey(msgspec.Struct, frozen=True):
    """A key in the state file; `public_key` is PEM (SubjectPublicKeyInfo)."""

    key_id: str
    team_id: str
    environment: Environment | None
    public_key: str


class StoredDevice(msgspec.Struct, frozen=True):
    """A device token in the state file."""

    token: str
    bundle_id: str
    environment: Environment
    kind: str
    unregistered_ms: int | None = None


class Snapshot(msgspec.Struct, frozen=True):
    """The content of the registry in the state file."""

    keys: list[StoredKey]
    topics: dict[str, str]
    devices: list[StoredDevice]


class StandInRegistry:
    """Keys, topics and device tokens. `on_change` is called after every change."""

    def __init__(
        self,
        clock: Callable[[], float],
        random_bytes: Callable[[int], bytes],
        on_change: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._random_bytes = random_bytes
        self._on_change = on_change
        self._keys: dict[str, SigningKey] = {}
        self._topics: dict[str, str] = {}
        self._devices: dict[str, StandInDevice] = {}

    # -- look-ups --

    def key(self, key_id: str) -> SigningKey | None:
        """Return the key with that identifier; None if it is unknown or revoked."""
        return self._keys.get(key_id)

    def device(self, token: str) -> StandInDevice | None:
        """Return a device token (lower-case hex) in any state; None if it is unknown."""
        return self._devices.get(token)

    def team_of(self, bundle_id: str) -> str | None:
        """Return the team of a bundle identifier; None if it is not registered."""
        return self._topics.get(bundle_id)

    def devices(self) -> list[StandInDevice]:
        """Return all device tokens, oldest first."""
        return list(self._devices.values())

    # -- actions of the developer portal and of devices --

    def issue_key(self, team_id: str, environment: Environment | None = None) -> IssuedKey:
        """Return a new ES256 key. The registry keeps only its public half.

        Raises:
            InvalidError: the team identifier is not 10 capitals or digits, or the environment is unknown.
        """
        check_team_id(team_id)
        if environment is not None:
            check_environment(environment)
        private_key = ec.generate_private_key(ec.SECP256R1())
        key_id = self._new_key_id()
        self._keys[key_id] = SigningKey(key_id, team_id, environment, private_key.public_key())
        self._on_change()
        pem = private_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return IssuedKey(key_id, team_id, pem.decode())

    def revoke_key(self, team_id: str, key_id: str) -> None:
        """Remove a key: provider tokens signed with it are invalid from now on. Raises NotFoundError."""
        key = self._keys.get(key_id)
        if key is None or key.team_id != team_id:
            raise NotFoundError("the team has no such key")
        del self._keys[key_id]
        self._on_change()

    def register_topic(self, bundle_id: str, team_id: str, *, transfer: bool = False) -> None:
        """Assign the bundle identifier to the team; `transfer` takes it from another team.

        Raises:
            ConflictError: it is registered for another team. At Apple an identifier exists once, world-wide.
            InvalidError: the form of an argument is wrong.
        """
        check_bundle_id(bundle_id)
        check_team_id(team_id)
        owner = self._topics.get(bundle_id)
        if owner == team_id:
            return
        if owner is not None and not transfer:
            raise ConflictError("the bundle identifier is registered for another team")
        self._topics[bundle_id] = team_id
        self._on_change()

    def issue_device_token(
        self, bundle_id: str, team_id: str, environment: Environment, kind: str = "apns"
    ) -> StandInDevice:
        """Return a new device token for one copy of an app on one device; register a new topic.

        Raises:
            ConflictError: as `register_topic`.
            InvalidError: as `register_topic`, or the kind or the environment is unknown.
        """
        check_environment(environment)
        family = family_of_kind(kind)
        if family is None:
            raise InvalidError(f"kind must be one of {', '.join(SUFFIX_OF_KIND)}")
        self.register_topic(bundle_id, team_id)
        token = self._random_bytes(32).hex()
        device = StandInDevice(
            token, bundle_id, environment, kind, bundle_id + SUFFIX_OF_KIND[family], family
        )
        self._devices[token] = device
        self._on_change()
        return device

    def unregister(self, token: str, timestamp_ms: int | None = None) -> StandInDevice:
        """Mark the app as removed: the token answers 410 with `timestamp_ms` (None: now). Raises NotFoundError."""
        device = self.require_device(token)
        device.unregistered_ms = int(self._clock() * 1000) if timestamp_ms is None else timestamp_ms
        self._on_change()
        return device

    def require_device(self, token: str) -> StandInDevice:
        """Return a device token, in hex of either case. Raises NotFoundError."""
        device = self._devices.get(token.lower())
        if device is None:
            # The message leaves the token out: errors are logged.
            raise NotFoundError("no such device token was issued here")
        return device

    # -- the state file --

    def snapshot(self) -> Snapshot:
        """Return a copy of the content, independent of later changes."""
        return Snapshot(
            [
                StoredKey(key.key_id, key.team_id, key.environment, _public_pem(key.public_key))
                for key in self._keys.values()
            ],
            dict(self._topics),
            [
                StoredDevice(d.token, d.bundle_id, d.environment, d.kind, d.unregistered_ms)
                for d in self._devices.values()
            ],
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Replace the content by a snapshot. Raises InvalidError for an inconsistent snapshot."""
        keys, devices = {}, {}
        for stored_key in snapshot.keys:
            public_key = _public_key(stored_key.public_key)
            keys[stored_key.key_id] = SigningKey(
                stored_key.key_id, stored_key.team_id, stored_key.environment, public_key
            )
        for stored in snapshot.devices:
            family = family_of_kind(stored.kind)
            if family is None:
                raise InvalidError("a device token has an unknown kind")
            topic = stored.bundle_id + SUFFIX_OF_KIND[family]
            devices[stored.token] = StandInDevice(
                stored.token,
                stored.bundle_id,
                stored.environment,
                stored.kind,
                topic,
                family,
                stored.unregistered_ms,
            )
        self._keys, self._topics, self._devices = keys, dict(snapshot.topics), devices

    def _new_key_id(self) -> str:
        return "".join(_KEY_ID_CHARACTERS[byte % 32] for byte in self._random_bytes(10))


def check_team_id(team_id: str) -> None:
    """Raise InvalidError unless `team_id` is 10 capital letters or digits."""
    if not _TEAM_ID.fullmatch(team_id):
        raise InvalidError("team_id must be 10 capital letters or digits")


def check_bundle_id(bundle_id: str) -> None:
    """Raise InvalidError unless `bundle_id` has the form of Apple's bundle identifiers."""
    if not _BUNDLE_ID.fullmatch(bundle_id):
        raise InvalidError("bundle_id must be letters, digits, '-' and '.', at most 155 of them")


def check_environment(environment: str) -> None:
    """Raise InvalidError unless `environment` is one of the two environments."""
    if environment not in ENVIRONMENTS:
        raise InvalidError(f"environment must be one of {', '.join(ENVIRONMENTS)}")


def _public_pem(public_key: ec.EllipticCurvePublicKey) -> str:
    return public_key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()


def _public_key(pem: str) -> ec.EllipticCurvePublicKey:
    try:
        public_key = serialization.load_pem_public_key(pem.encode())
    except ValueError as error:
        raise InvalidError("a key is not PEM") from error
    if not isinstance(public_key, ec.EllipticCurvePublicKey):
        raise InvalidError("a key is not an elliptic curve key")
    return public_key
