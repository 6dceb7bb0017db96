"""Test devices: those that a publisher listed to test and debug on, by the keyed digest of their UDID."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

import asyncpg

from relay.core.delivery.outcomes import FailureDomain
from relay.store import sql
from relay.store.database import Connection, Database
from relay.store.operations import audit
from relay.store.operations.audit import Actor, AuditAction, AuditEntry

MAX_TEST_DEVICES = 1000
"""Test devices that a publisher may list: every send with `debug` reads them all."""
_SQL = sql.load(__package__, "test_devices.sql")
_NIL = UUID(int=0)


@dataclass(frozen=True, slots=True)
class TestDevice:
    """A listed device as its publisher sees it: without the UDID."""

    test_device_id: UUID
    label: str
    failure_domain: FailureDomain
    created_at: datetime


@dataclass(frozen=True, slots=True)
class TestDeviceInApp:
    """A listed device with installations of an app, and the identifiers that its publisher knows there.

    `copies`: the installations; `reachable`: those with an active device token of any kind.
    """

    test_device_id: UUID
    label: str
    failure_domain: FailureDomain
    customer: str
    device: str
    copies: int
    reachable: int


class TestDeviceRepository:
    """The test devices of all publishers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_test_device(
        self, publisher_id: UUID, udid_digest: bytes, device: TestDevice, actor: Actor
    ) -> bool:
        """List a device. Returns False if it is listed already, or the list has `MAX_TEST_DEVICES`."""
        async with self._database.transaction() as connection:
            status = await connection.execute(
                _SQL["insert"],
                publisher_id,
                udid_digest,
                device.test_device_id,
                device.label,
                device.failure_domain,
                device.created_at,
                MAX_TEST_DEVICES,
            )
            if str(status) != "INSERT 0 1":
                return False
            action = AuditAction.TEST_DEVICE_ADDED
            await _write_entry(connection, actor, action, publisher_id, device, device.created_at)
            return True

    async def list_test_devices(self, publisher_id: UUID, after: UUID | None, limit: int) -> list[TestDevice]:
        """Return up to `limit` of the publisher's test devices that follow `after`, oldest first."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_SQL["list"], publisher_id, after or _NIL, limit)
        return [_test_device(row) for row in rows]

    async def list_test_devices_with_app(self, publisher_id: UUID, app_id: str) -> list[TestDeviceInApp]:
        """Return the publisher's test devices with an installation of that app, oldest first."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_SQL["list_with_installations"], publisher_id, app_id)
        return [
            TestDeviceInApp(**{**row, "failure_domain": FailureDomain(row["failure_domain"])}) for row in rows
        ]

    async def change_test_device(
        self,
        publisher_id: UUID,
        test_device_id: UUID,
        label: str | None,
        failure_domain: FailureDomain | None,
        now: datetime,
        actor: Actor,
    ) -> TestDevice | None:
        """Change what is not None and return the device, or None if the publisher has no such test device."""
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(_SQL["lock"], publisher_id, test_device_id)
            if row is None:
                return None
            before = _test_device(row)
            after = replace(
                before,
                label=before.label if label is None else label,
                failure_domain=failure_domain or before.failure_domain,
            )
            if after != before:
                await connection.execute(
                    _SQL["change"], publisher_id, test_device_id, after.label, after.failure_domain
                )
                action = AuditAction.TEST_DEVICE_CHANGED
                await _write_entry(connection, actor, action, publisher_id, after, now)
            return after

    async def remove_test_device(
        self, publisher_id: UUID, test_device_id: UUID, now: datetime, actor: Actor
    ) -> bool:
        """Take a device off the list. Returns False if the publisher has no such test device."""
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(_SQL["delete"], publisher_id, test_device_id)
            if row is None:
                return False
            action = AuditAction.TEST_DEVICE_REMOVED
            await _write_entry(connection, actor, action, publisher_id, _test_device(row), now)
            return True


def _test_device(row: asyncpg.Record) -> TestDevice:
    return TestDevice(
        row["test_device_id"], row["label"], FailureDomain(row["failure_domain"]), row["created_at"]
    )


async def _write_entry(
    connection: Connection,
    actor: Actor,
    action: AuditAction,
    publisher_id: UUID,
    device: TestDevice,
    now: datetime,
) -> None:
    detail = {"label": device.label, "failure_domain": device.failure_domain}
    entry = AuditEntry(action, str(device.test_device_id), publisher_id, detail)
    await audit.write_entries(connection, actor, now, entry)
