"""The types of ids, push ids that hold their time, and apns-ids that are constant over all attempts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import NewType
from uuid import UUID

from relay.core.clock import Random

AppId = NewType("AppId", str)
"""The store's name of an app: 1 to 64 letters and digits, the scope of every `c_` and `d_` identifier."""
PushId = NewType("PushId", UUID)
"""A UUIDv7 that holds the time of acceptance."""
BatchId = NewType("BatchId", int)
"""62 random bits, so that nodes need not coordinate."""
InstallationId = NewType("InstallationId", int)
"""The serial number of an installation inside its app."""
CredentialId = NewType("CredentialId", int)
TokenId = NewType("TokenId", UUID)
"""The id of an API token, not its text."""
PublisherId = NewType("PublisherId", UUID)
NodeId = NewType("NodeId", UUID)
"""A process of the relay; a restarted one has another."""

_VERSION_7 = 0x7 << 76
_VARIANT = 0b10 << 62


def make_uuid7(now_ms: int, random: int) -> UUID:
    """Return a UUIDv7 (RFC 9562 section 5.7) of `now_ms` (epoch milliseconds) and the low 74 bits of `random`."""
    return UUID(
        int=(now_ms & (1 << 48) - 1) << 80
        | _VERSION_7
        | (random >> 62 & 0xFFF) << 64
        | _VARIANT
        | random & (1 << 62) - 1
    )


def smallest_push_id(moment: datetime) -> PushId:
    """Return the smallest id that a push accepted at `moment` or later can have: the bound of a partition."""
    return PushId(UUID(int=int(moment.timestamp() * 1000) << 80))


class ApnsIds:
    """The apns-ids of one push. `derive(installation_id)` is constant over attempts and differs between pushes.

    An apns-id is a UUIDv8 (RFC 9562 section 5.8): 60 bits of a digest of the push id, then the installation id. The
    digest is computed once per push; per delivery only the number is formatted.
    """

    def __init__(self, push: PushId) -> None:
        digest = hashlib.blake2b(push.bytes, digest_size=8, person=b"apns-id").hexdigest()
        self._prefix = f"{digest[:8]}-{digest[8:12]}-8{digest[12:15]}-"

    def derive(self, installation_id: InstallationId) -> str:
        """Return the apns-id of the delivery to an installation: a canonical lower-case UUID."""
        return f"{self._prefix}{0x8000 | installation_id >> 48 & 0x3FFF:04x}-{installation_id & 0xFFFFFFFFFFFF:012x}"

    def derive_all(self, installation_ids: Sequence[InstallationId]) -> list[str]:
        """Return the apns-ids of many installations. Ids of at most 48 bits, the usual ones, take a short cut."""
        if installation_ids and max(installation_ids) >> 48:
            return [self.derive(number) for number in installation_ids]
        template = f"{self._prefix}8000-%012x"
        return [template % number for number in installation_ids]


def new_uuid7(now: datetime, random: Random) -> UUID:
    """Return a UUIDv7 of `now`, so that lists sorted by id are sorted by time."""
    return make_uuid7(int(now.timestamp() * 1000), int.from_bytes(random(10), "big"))
