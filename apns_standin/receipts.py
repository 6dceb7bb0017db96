"""What was accepted, by apns-id: for whoever has to prove that nothing was lost. Kept only when asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec

from .errors import ConflictError


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """A notification: how often it was accepted (200), whether or not the answers arrived."""

    apns_id: str
    device_token: str
    count: int


class Receipts:
    """Counts up to `most` apns-ids; 0 keeps nothing. Also when each device token was last said to be dead."""

    def __init__(self, most: int = 0) -> None:
        self._most = most
        self._device_tokens: dict[str, str] = {}
        self._more: Counter[str] = Counter()
        self._dead: dict[str, int] = {}
        self._full = False

    def accepted(self, apns_id: str, device_token: str) -> None:
        """A notification was accepted."""
        if apns_id in self._device_tokens:
            self._more[apns_id] += 1
        elif len(self._device_tokens) < self._most:
            self._device_tokens[apns_id] = device_token
        else:
            self._full = True

    def unregistered(self, device_token: str, timestamp_ms: int) -> None:
        """A 410 was given with that time, epoch milliseconds."""
        if self._most and self._dead.get(device_token, -1) < timestamp_ms:
            self._dead[device_token] = timestamp_ms

    def all(self) -> Iterator[Receipt]:
        """What was accepted until now. Raises ConflictError if not all of it is known."""
        self._check()
        for apns_id, device_token in list(self._device_tokens.items()):
            yield Receipt(apns_id, device_token, 1 + self._more[apns_id])

    def dead(self) -> dict[str, int]:
        """By device token, the latest time that a 410 gave. Raises ConflictError if receipts are not kept."""
        self._check()
        return dict(self._dead)

    def _check(self) -> None:
        if not self._most:
            raise ConflictError("receipts are not kept; see --receipts")
        if self._full:
            raise ConflictError(f"more than the {self._most} receipts that are kept")
