"""UDIDs: their forms, and the keyed digest that the relay keeps of them.

A UDID has 40 hexadecimal digits (devices up to the iPhone X), or 24, written with a dash after the eighth
(all later ones); a simulator has a UUID. Case and dashes do not matter: tools print them differently.
"""

from __future__ import annotations

import hashlib
import hmac
import re

UDID_PATTERN = (
    r"^(?:[0-9A-Fa-f]{40}|[0-9A-Fa-f]{8}-?[0-9A-Fa-f]{16}"
    r"|[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12})\Z"
)
_FORM = re.compile(UDID_PATTERN, re.ASCII)
_PURPOSE = b"push-relay.udid"


def normalise_udid(text: str) -> str:
    """Return the normal form of a UDID: lower-case digits without dashes. Raises ValueError for anything else."""
    if _FORM.match(text) is None:
        raise ValueError("not a UDID")
    return text.replace("-", "").lower()


class UdidDigests:
    """HMAC-SHA256 of UDIDs. `key` must never change: devices are found by these digests."""

    def __init__(self, key: str) -> None:
        self._key = hmac.digest(key.encode(), _PURPOSE, hashlib.sha256)

    def digest_udid(self, text: str) -> bytes:
        """Return the digest (32 bytes) of a UDID in any of its forms. Raises ValueError for anything else."""
        return hmac.digest(self._key, normalise_udid(text).encode(), hashlib.sha256)
