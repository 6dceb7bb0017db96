"""E-mail addresses as aliases of customers: their one spelling, and the keyed digest that is all the relay keeps.

Spaces around an address, its case and the Unicode form of its letters don't matter. Strictly the part before the @ may
differ in case; no mail system that people use does that, and their address books don't keep it apart.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import re
import unicodedata

ADDRESS_PATTERN = r"^ *[^\x00- @\x7f\ud800-\udfff]+@[^\x00- @\x7f\ud800-\udfff]+ *\Z"
MAX_ADDRESS_LENGTH = 254
"""Characters, spaces around it included (RFC 5321 section 4.5.3.1.3 has octets; nothing depends on it here)."""
_FORM = re.compile(ADDRESS_PATTERN)
_PURPOSE = b"push-relay.alias."


def looks_like_address(text: str) -> bool:
    """Whether a recipient is meant to be an address: no identifier has an @."""
    return "@" in text


def normalise_address(text: str) -> str:
    """The one spelling of an address. Raises ValueError for what is none; the text is not in the error."""
    if len(text) > MAX_ADDRESS_LENGTH or _FORM.match(text) is None:
        raise ValueError("not an e-mail address")
    composed = unicodedata.normalize("NFC", text.strip(" "))
    return unicodedata.normalize("NFC", composed.lower())


class AddressDigests:
    """HMAC-SHA256 of addresses, under a key for each app: the same address has another digest in another app.

    The key they come from never changes: customers are found by these digests.
    """

    def __init__(self, key: str) -> None:
        self._secret = key.encode()  # the purpose keeps its digests apart from all else that is made with it
        self._key = functools.lru_cache(maxsize=4096)(self._derive_key)

    def digest_address(self, app_id: str, text: str) -> bytes:
        """The digest (32 bytes) of an address in any spelling. Raises ValueError for anything else."""
        return hmac.digest(self._key(app_id), normalise_address(text).encode(), hashlib.sha256)

    def _derive_key(self, app_id: str) -> bytes:
        return hmac.digest(self._secret, _PURPOSE + app_id.encode(), hashlib.sha256)
