"""SQL of reading customers back: whom an app has, on which devices, and whether a push would reach them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from relay.store.database import Database

# In the order of identifiers, which says nothing, and not of our own numbers: they are the same in every app, so a
# cursor made of them would say which customers of two apps are one. 'c_…' < 'd' < 'd_…'.
_HERE = """
SELECT s.value, s.subject FROM scoped_identifier s
WHERE s.app_id = $1 AND s.kind = 'c' AND s.value > $2 AND s.value < 'd' AND (
    SELECT true FROM installation i
    WHERE i.app_id = s.app_id AND i.customer_id = s.subject AND i.retired_at IS NULL LIMIT 1
)
ORDER BY s.value LIMIT $3
"""
_ONE = "SELECT value, subject FROM scoped_identifier WHERE app_id = $1 AND kind = 'c' AND value = $2"
_WITH_ALIAS = """
SELECT s.value, s.subject FROM alias a
JOIN scoped_identifier s ON s.app_id = a.app_id AND s.kind = 'c' AND s.subject = a.customer_id
WHERE a.app_id = $1 AND a.digest = $4 AND s.value > $2
ORDER BY s.value LIMIT $3
"""
_WITH_DEVICE = """
SELECT c.value, c.subject FROM scoped_identifier d
JOIN device v ON v.device_id = d.subject
JOIN scoped_identifier c ON c.app_id = d.app_id AND c.kind = 'c' AND c.subject = v.customer_id
WHERE d.app_id = $1 AND d.kind = 'd' AND d.value = $2
"""
_COPIES = """
SELECT i.customer_id, d.value AS device, i.alongside, i.app_version, i.environment, t.known, t.kinds,
       greatest(t.registered_at, g.seen_at) AS last_seen
FROM installation i
JOIN scoped_identifier d ON d.app_id = i.app_id AND d.kind = 'd' AND d.subject = i.device_id
LEFT JOIN sighting g ON g.app_id = i.app_id AND g.installation_id = i.installation_id
CROSS JOIN LATERAL (
    SELECT count(*) AS known, max(k.registered_at) AS registered_at,
           array_agg(k.kind ORDER BY k.kind) FILTER (WHERE k.retired_at IS NULL) AS kinds
    FROM device_token k WHERE k.app_id = i.app_id AND k.installation_id = i.installation_id
) t
WHERE i.app_id = $1 AND i.customer_id = ANY($2::bigint[]) AND i.retired_at IS NULL
ORDER BY d.value, i.alongside
"""


@dataclass(frozen=True, slots=True)
class InstalledCopy:
    """A copy on a device. `kinds`: of its active device tokens; `known`: of all that it ever had, how many are kept."""

    alongside: str
    app_version: str
    environment: str | None
    known: int
    kinds: Sequence[str]
    last_seen: datetime | None


@dataclass(slots=True)
class Customer:
    """A customer with its copies by device, both by the identifiers that the publisher knows."""

    customer: str
    devices: dict[str, list[InstalledCopy]] = field(default_factory=dict)


class Customers:
    """The customers of all apps."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, app_id: str, after: str, limit: int) -> list[Customer]:
        """Up to `limit` customers that have a copy of the app and follow the identifier `after`."""
        return await self._read(app_id, _HERE, after, limit)

    async def find(self, app_id: str, customer: str) -> Customer | None:
        """One customer, without any device if all copies are gone. None: the app has no such customer."""
        return next(iter(await self._read(app_id, _ONE, customer)), None)

    async def with_alias(self, app_id: str, digest: bytes, after: str, limit: int) -> list[Customer]:
        """Up to `limit` customers that have the alias with that digest and follow the identifier `after`."""
        return await self._read(app_id, _WITH_ALIAS, after, limit, digest)

    async def with_device(self, app_id: str, device: str) -> Customer | None:
        """The customer whose device that is or was. None: the app knows no such device."""
        return next(iter(await self._read(app_id, _WITH_DEVICE, device)), None)

    async def _read(self, app_id: str, which: str, *arguments: object) -> list[Customer]:
        """The customers that the query `which` finds, in its order."""
        async with self._database.connection() as connection:
            found = await connection.fetch(which, app_id, *arguments)
            customers = {row["subject"]: Customer(row["value"]) for row in found}
            for row in await connection.fetch(_COPIES, app_id, list(customers)):
                customers[row["customer_id"]].devices.setdefault(row["device"], []).append(
                    InstalledCopy(
                        row["alongside"],
                        row["app_version"],
                        row["environment"],
                        row["known"],
                        row["kinds"] or (),
                        row["last_seen"],
                    )
                )
        return list(customers.values())
