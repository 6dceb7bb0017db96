"""E-mail addresses as aliases of customers: their normal form, and the keyed digest that the relay keeps of them.

Spaces around an address, its case and the Unicode form of its letters do not matter. Strictly the part before the @
may be case-sensitive; no mail system in common use treats it so.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import re
import unicodedata

from relay.core.ids import AppId

ADDRESS_PATTERN = r"^ *[^\x00- @\x7f\ud800-\udfff]+@[^\x00- @\x7f\ud800-\udfff]+ *\Z"
MAX_ADDRESS_LENGTH = 254
"""Characters, spaces around it included (RFC 5321 section 4.5.3.1.3 has octets; nothing depends on it here)."""
_FORM = re.compile(ADDRESS_PATTERN)
_PURPOSE = b"push-relay.alias."


def looks_like_address(text: str) -> bool:
    """Tell whether a destination is meant to be an address: no identifier has an @."""
    return "@" in text


def normalise_address(text: str) -> str:
    """Return the normal form of an address. Raises ValueError, without the text, for anything else."""
    if len(text) > MAX_ADDRESS_LENGTH or _FORM.match(text) is None:
        raise ValueError("not an e-mail address")
    composed = unicodedata.normalize("NFC", text.strip(" "))
    return unicodedata.normalize("NFC", composed.lower())


class AddressDigests:
    """HMAC-SHA256 of addresses under a key per app: an address has a different digest in each app.

    `key` must never change: customers are found by these digests.
    """

    def __init__(self, key: str) -> None:
        self._secret = key.encode()  # the purpose keeps these digests apart from others under this key
        self._key = functools.lru_cache(maxsize=4096)(self._derive_key)

    def digest_address(self, app_id: AppId, text: str) -> bytes:
        """Return the digest (32 bytes) of an address in any spelling. Raises ValueError for anything else."""
        return hmac.digest(self._key(app_id), normalise_address(text).encode(), hashlib.sha256)

    def _derive_key(self, app_id: AppId) -> bytes:
        return hmac.digest(self._secret, _PURPOSE + app_id.encode(), hashlib.sha256)
