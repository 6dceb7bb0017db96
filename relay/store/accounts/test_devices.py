"""Devices a publisher listed to test and debug on, by the digest of their UDID."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from relay.store.database import Connection, Database
from relay.store.operations import audit
from relay.store.operations.audit import Actor, AuditAction, AuditEntry

_NIL = UUID(int=0)
_COLUMNS = "test_device_id, label, failure_domain, created_at"

_INSERT = """
INSERT INTO test_device (publisher_id, udid_digest, test_device_id, label, failure_domain, created_at)
SELECT $1, $2, $3, $4, $5, $6
WHERE (SELECT count(*) FROM (SELECT FROM test_device WHERE publisher_id = $1 LIMIT $7) AS listed) < $7
ON CONFLICT DO NOTHING
"""
_PAGE = f"""
SELECT {_COLUMNS} FROM test_device
WHERE publisher_id = $1 AND test_device_id > $2 ORDER BY test_device_id LIMIT $3
"""  # noqa: S608 - the columns are ours
# Of all owners that a listed device ever had, those who have a copy of the app on it now: that is one.
_IN_APP = """
SELECT l.test_device_id, l.label, l.failure_domain, c.value AS customer, d.value AS device, count(*) AS copies,
       count(*) FILTER (WHERE EXISTS (
           SELECT FROM device_token t
           WHERE t.app_id = i.app_id AND t.installation_id = i.installation_id AND t.retired_at IS NULL
       )) AS reachable
FROM test_device l
JOIN device v USING (udid_digest)
JOIN installation i ON i.app_id = $2 AND i.device_id = v.device_id AND i.retired_at IS NULL
JOIN scoped_identifier c ON c.app_id = i.app_id AND c.kind = 'c' AND c.subject = i.customer_id
JOIN scoped_identifier d ON d.app_id = i.app_id AND d.kind = 'd' AND d.subject = i.device_id
WHERE l.publisher_id = $1
GROUP BY l.test_device_id, l.label, l.failure_domain, c.value, d.value
ORDER BY l.test_device_id, d.value
"""
_LOCK = f"""
SELECT {_COLUMNS} FROM test_device WHERE publisher_id = $1 AND test_device_id = $2 FOR UPDATE
"""  # noqa: S608 - the columns are ours
_CHANGE = (
    "UPDATE test_device SET label = $3, failure_domain = $4 WHERE publisher_id = $1 AND test_device_id = $2"
)
_REMOVE = f"""
DELETE FROM test_device WHERE publisher_id = $1 AND test_device_id = $2 RETURNING {_COLUMNS}
"""  # noqa: S608 - the columns are ours

MOST = 1000
"""Test devices a publisher may list: every send with `debug` reads them all."""


@dataclass(frozen=True, slots=True)
class TestDevice:
    """A listed device as its publisher sees it: without the UDID."""

    __test__ = False  # not a test, whatever pytest thinks of its name

    test_device_id: UUID
    label: str
    failure_domain: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class TestDeviceInApp:
    """A listed device that has an app: by whom and as what the publisher knows it there, and with how many copies.

    `reachable`: copies with an active device token, of whatever kind.
    """

    __test__ = False

    test_device_id: UUID
    label: str
    failure_domain: str
    customer: str
    device: str
    copies: int
    reachable: int


class TestDevices:
    """The test devices of all publishers."""

    __test__ = False

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, publisher_id: UUID, udid_digest: bytes, device: TestDevice, actor: Actor) -> bool:
        """List a device. False if the publisher has listed it already, or has listed `MOST`."""
        async with self._database.transaction() as connection:
            status = await connection.execute(
                _INSERT,
                publisher_id,
                udid_digest,
                device.test_device_id,
                device.label,
                device.failure_domain,
                device.created_at,
                MOST,
            )
            if str(status) != "INSERT 0 1":
                return False
            added = AuditAction.TEST_DEVICE_ADDED
            await _log(connection, actor, added, publisher_id, device, device.created_at)
            return True

    async def page(self, publisher_id: UUID, after: UUID | None, limit: int) -> list[TestDevice]:
        """Up to `limit` of the publisher's test devices that follow `after`, oldest first."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_PAGE, publisher_id, after or _NIL, limit)
            return [TestDevice(**row) for row in rows]

    async def in_app(self, publisher_id: UUID, app_id: str) -> list[TestDeviceInApp]:
        """The publisher's test devices that have a copy of that app, oldest first: `MOST` at most."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_IN_APP, publisher_id, app_id)
            return [TestDeviceInApp(**row) for row in rows]

    async def change(
        self,
        publisher_id: UUID,
        test_device_id: UUID,
        label: str | None,
        failure_domain: str | None,
        now: datetime,
        actor: Actor,
    ) -> TestDevice | None:
        """Change what is not None. None if the publisher has no such test device."""
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(_LOCK, publisher_id, test_device_id)
            if row is None:
                return None
            before = TestDevice(**row)
            after = replace(
                before,
                label=before.label if label is None else label,
                failure_domain=failure_domain or before.failure_domain,
            )
            if after != before:
                await connection.execute(
                    _CHANGE, publisher_id, test_device_id, after.label, after.failure_domain
                )
                await _log(connection, actor, AuditAction.TEST_DEVICE_CHANGED, publisher_id, after, now)
            return after

    async def remove(self, publisher_id: UUID, test_device_id: UUID, now: datetime, actor: Actor) -> bool:
        """Take a device off the list. False if the publisher has no such test device."""
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(_REMOVE, publisher_id, test_device_id)
            if row is None:
                return False
            removed = AuditAction.TEST_DEVICE_REMOVED
            await _log(connection, actor, removed, publisher_id, TestDevice(**row), now)
            return True


async def _log(
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
