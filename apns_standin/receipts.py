"""Receipts: counts of accepted pushes by apns-id, as proof that no push was lost. Off by default."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec

from .errors import ConflictError


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """The number of times a notification was accepted (200), even if the answers were lost."""

    apns_id: str
    device_token: str
    count: int


class Receipts:
    """Receipts of up to `max_receipts` apns-ids (0: none), and the last 410 of each device token."""

    def __init__(self, max_receipts: int) -> None:
        self._max_receipts = max_receipts
        self._device_tokens: dict[str, str] = {}
        self._repeats: Counter[str] = Counter()
        self._unregistered_ms: dict[str, int] = {}
        self._incomplete = False

    def count_accepted(self, apns_id: str, device_token: str) -> None:
        """Count an accepted notification."""
        if apns_id in self._device_tokens:
            self._repeats[apns_id] += 1
        elif len(self._device_tokens) < self._max_receipts:
            self._device_tokens[apns_id] = device_token
        else:
            self._incomplete = True

    def note_unregistered(self, device_token: str, timestamp_ms: int) -> None:
        """Note the time (epoch ms) in a 410 of a device token."""
        if self._max_receipts and self._unregistered_ms.get(device_token, -1) < timestamp_ms:
            self._unregistered_ms[device_token] = timestamp_ms

    def all(self) -> Iterator[Receipt]:
        """Yield all receipts. Raises ConflictError if they are off or incomplete."""
        self._require_complete()
        for apns_id, device_token in list(self._device_tokens.items()):
            yield Receipt(apns_id, device_token, 1 + self._repeats[apns_id])

    def unregistered_times(self) -> dict[str, int]:
        """Return the latest time (epoch ms) in a 410, by device token. Raises ConflictError as `all`."""
        self._require_complete()
        return dict(self._unregistered_ms)

    def _require_complete(self) -> None:
        if not self._max_receipts:
            raise ConflictError("receipts are not kept; see --receipts")
        if self._incomplete:
            raise ConflictError(f"more than the {self._max_receipts} receipts that are kept")
