"""The field `destinations` of `POST /v1.0/send/`.

- "all": every customer of the app;
- a map: `{"c_…": []}` all devices of a customer, `{"c_…": ["d_…"]}` some of them, `{"ada@example.com": []}` all devices
  of all customers with that alias;
- a list of customers and addresses: all their devices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from relay.core import email_aliases
from relay.core.email_aliases import AddressDigests
from relay.core.errors import Fault, Invalid
from relay.core.identifiers import Identifiers
from relay.core.ids import AppId
from relay.core.strict_json import escape_pointer_token

MAX_DESTINATIONS = 50_000
MAX_FAULTS = 1000
"""The largest number of wrong destinations that are named one by one; the rest is counted."""
EVERYONE = "all"
"""The value of `destinations` for every customer of the app."""
_POINTER = "/destinations"

Destinations: TypeAlias = dict[str, list[str]] | list[str]
DestinationName: TypeAlias = str | bytes
"""The name of a destination: an identifier, or the digest of an address."""


def check_destinations(destinations: Any) -> Destinations:
    """Return `destinations` (not EVERYONE) if it is a map or a list of bounded size. Raises Invalid."""
    if destinations == []:
        detail = "There are no destinations. PHP writes an empty map as []: name at least one customer."
        raise Invalid(faults=[Fault("empty", _POINTER, detail)])
    if isinstance(destinations, list):
        for index, name in enumerate(destinations):
            if not isinstance(name, str):
                detail = "This must be a customer identifier or an e-mail address."
                raise Invalid(faults=[Fault("wrong_type", f"{_POINTER}/{index}", detail)])
        count = len(destinations)
    elif isinstance(destinations, dict):
        count = sum(map(_count, destinations.items()))
    else:
        detail = '`destinations` must map customers to lists of devices, or list customers, or be "all".'
        raise Invalid(faults=[Fault("wrong_type", _POINTER, detail)])
    if not count:
        raise Invalid(faults=[Fault("empty", _POINTER, "There are no destinations.")])
    if count > MAX_DESTINATIONS:
        detail = f"There are {count} destinations; {MAX_DESTINATIONS} are allowed."
        raise Invalid(faults=[Fault("too_many", _POINTER, detail)])
    checked: Destinations = destinations
    return checked


def _count(entry: tuple[str, Any]) -> int:
    name, devices = entry
    if not isinstance(devices, list) or not all(isinstance(device, str) for device in devices):
        detail = "This must be a list of device identifiers; [] means all devices."
        raise Invalid(faults=[Fault("wrong_type", f"{_POINTER}/{escape_pointer_token(name)}", detail)])
    return max(1, len(devices))


class DestinationCheck:
    """The verification of all destinations of a request against its app, which needs no query.

    `slices()` yields after every few hundred destinations, so that other requests can run in between. Afterwards
    `customers` (those named as a whole), `devices` and `addresses` (digests) hold the destinations without repeats,
    and `finish()` raises Invalid for wrong ones: identifiers that are malformed, forged, of another app or of another
    customer, and texts that are no address. `places` has the JSON pointer of each destination that is not a key of
    the map.
    """

    def __init__(
        self, identifiers: Identifiers, digests: AddressDigests, app_id: AppId, destinations: Destinations
    ) -> None:
        self._identifiers = identifiers
        self._digests = digests
        self._app_id = app_id
        self._destinations = destinations
        self._faults: list[Fault] = []
        self._wrong = 0
        self.customers: dict[str, None] = {}
        self.devices: dict[str, None] = {}
        self.addresses: dict[bytes, None] = {}
        self.places: dict[DestinationName, str] = {}

    def slices(self, size: int = 500) -> Iterator[None]:
        """Verify the destinations; yield after every `size` of them."""
        done = 0
        for checked in self._each():
            done += checked
            if done >= size:
                done = 0
                yield

    def finish(self) -> None:
        """Raise Invalid if any destination is wrong."""
        if self._wrong > len(self._faults):
            detail = f"{self._wrong} destinations are wrong; {len(self._faults)} of them are named."
            self._faults.append(Fault("too_many", _POINTER, detail))
        if self._faults:
            raise Invalid("Some destinations are not of this app; nothing was sent.", self._faults)

    def _each(self) -> Iterator[int]:
        """Verify entry by entry; yield the number of identifiers and addresses in each."""
        if isinstance(self._destinations, dict):
            for name, devices in self._destinations.items():
                if email_aliases.looks_like_address(name):
                    self._check_address(name, devices, f"{_POINTER}/{escape_pointer_token(name)}")
                else:
                    self._check_customer(name, devices)
                yield 1 + len(devices)
            return
        for index, name in enumerate(self._destinations):
            pointer = f"{_POINTER}/{index}"
            if email_aliases.looks_like_address(name):
                self._check_address(name, (), pointer)
            elif self._identifiers.is_customer(self._app_id, name):
                self.customers[name] = None
                self.places.setdefault(name, pointer)
            else:
                detail = "This is neither a customer identifier of this app nor an e-mail address."
                self._refuse("invalid_customer", pointer, detail)
            yield 1

    def _check_customer(self, customer: str, devices: Sequence[str]) -> None:
        pointer = f"{_POINTER}/{escape_pointer_token(customer)}"
        if not self._identifiers.is_customer(self._app_id, customer):
            self._refuse("invalid_customer", pointer, "This is not a customer identifier of this app.")
        elif not devices:
            self.customers[customer] = None
        else:
            for index, device in enumerate(devices):
                if self._identifiers.is_device(self._app_id, customer, device):
                    self.devices[device] = None
                else:
                    detail = "This is not a device identifier of this customer in this app."
                    self._refuse("invalid_device", f"{pointer}/{index}", detail)

    def _check_address(self, address: str, devices: Sequence[str], pointer: str) -> None:
        try:
            digest = self._digests.digest_address(self._app_id, address)
        except ValueError:
            self._refuse("invalid_address", pointer, "This is not an e-mail address.")
            return
        if devices:
            detail = "An address stands for all devices of its customers: its list must be empty."
            self._refuse("not_allowed", f"{pointer}/0", detail)
            return
        self.addresses[digest] = None
        self.places.setdefault(digest, pointer)

    def _refuse(self, code: str, pointer: str, detail: str) -> None:
        self._wrong += 1
        if len(self._faults) < MAX_FAULTS:
            self._faults.append(Fault(code, pointer, detail))
