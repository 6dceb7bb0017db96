"""Test devices of a publisher, as it manages them in the API and the console."""

from __future__ import annotations

from uuid import UUID

import msgspec

from relay.core.clock import Clock, Random
from relay.core.delivery.outcomes import FailureDomain
from relay.core.errors import Conflict, Fault, NotFound
from relay.core.ids import new_uuid7
from relay.core.schema import Name, Udid
from relay.core.udid import UdidDigests
from relay.store.accounts.api_tokens import ManageToken
from relay.store.accounts.test_devices import TestDevice, TestDeviceRepository
from relay.store.database import Database


class TestDeviceBody(msgspec.Struct, forbid_unknown_fields=True):
    """The fields of a new test device."""

    udid: Udid
    label: Name
    failure_domain: FailureDomain = FailureDomain.OK


class TestDeviceChange(msgspec.Struct, forbid_unknown_fields=True):
    """Changes to a test device. A field that is None stays unchanged."""

    label: Name | None = None
    failure_domain: FailureDomain | None = None


class TestDeviceService:
    """The publisher's list of test devices, read and changed."""

    def __init__(self, database: Database, udid_digests: UdidDigests, clock: Clock, random: Random) -> None:
        self._test_devices = TestDeviceRepository(database)
        self._udid_digests = udid_digests
        self._clock = clock
        self._random = random

    async def add_test_device(self, owner: ManageToken, body: TestDeviceBody) -> TestDevice:
        """Put a device on the publisher's list.

        Raises:
            Conflict: the device is listed already, or the list is full.
        """
        now = self._clock.now()
        device = TestDevice(new_uuid7(now, self._random), body.label, body.failure_domain, now)
        udid_digest = self._udid_digests.digest_udid(body.udid)
        if not await self._test_devices.add_test_device(owner.publisher_id, udid_digest, device, owner.actor):
            raise Conflict(faults=[Fault("conflict", "/udid", "The device is listed, or the list is full.")])
        return device

    async def list_test_devices(self, publisher_id: UUID, after: UUID | None, limit: int) -> list[TestDevice]:
        """Return up to `limit` of the publisher's test devices that follow `after`, oldest first."""
        return await self._test_devices.list_test_devices(publisher_id, after, limit)

    async def change_test_device(
        self, owner: ManageToken, test_device_id: UUID, change: TestDeviceChange
    ) -> TestDevice:
        """Change the label or the failure domain of a listed device, and return it.

        Raises:
            NotFound: the publisher has no such test device.
        """
        device = await self._test_devices.change_test_device(
            owner.publisher_id,
            test_device_id,
            change.label,
            change.failure_domain,
            self._clock.now(),
            owner.actor,
        )
        if device is None:
            raise _no_test_device()
        return device

    async def remove_test_device(self, owner: ManageToken, test_device_id: UUID) -> None:
        """Take a device off the publisher's list.

        Raises:
            NotFound: the publisher has no such test device.
        """
        now = self._clock.now()
        if not await self._test_devices.remove_test_device(
            owner.publisher_id, test_device_id, now, owner.actor
        ):
            raise _no_test_device()


def _no_test_device() -> NotFound:
    return NotFound("There is no such test device.")
