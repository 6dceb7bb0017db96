"""One copy of an app at a time: read for the copy itself, retired for the store. enrolments.py makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from relay.store import sql
from relay.store.database import Connection, Database
from relay.store.installations.enrolments import retire_tokens
from relay.store.operations import audit
from relay.store.operations.audit import Actor, AuditAction, AuditEntry

_RETIRE = sql.load(__package__, "enrolments.sql")["retire"]
_FIND = """
SELECT i.app_id, i.installation_id, i.installation_uuid, i.alongside, i.bundle_id, i.team_id, i.environment,
    i.app_version, c.value AS customer_identifier, d.value AS device_identifier
FROM installation i
JOIN scoped_identifier c ON c.app_id = i.app_id AND c.kind = 'c' AND c.subject = i.customer_id
JOIN scoped_identifier d ON d.app_id = i.app_id AND d.kind = 'd' AND d.subject = i.device_id
WHERE i.app_id = $1 AND i.installation_uuid = $2 AND i.serial = $3 AND i.retired_at IS NULL
"""


@dataclass(frozen=True, slots=True)
class Installation:
    """A copy of an app on a device, with the identifiers its publisher knows."""

    app_id: str
    installation_id: int
    installation_uuid: UUID
    alongside: str
    bundle_id: str
    team_id: str
    environment: str | None
    app_version: str
    customer_identifier: str
    device_identifier: str


class Installations:
    """The copies."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, app_id: str, installation_uuid: UUID, serial: int) -> Installation | None:
        """The copy that an install_ token acts for, or None where the token does not hold any more."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_FIND, app_id, installation_uuid, serial)
        return Installation(**row) if row else None

    async def retire(self, installation_uuid: UUID, now: datetime, actor: Actor) -> bool:
        """Retire a copy, its device tokens and its install_ token. Again changes nothing. False if unknown.

        A uuid that was replaced by another one has nothing left to retire.
        """
        async with self._database.transaction() as connection:
            held = await connection.fetchrow(
                "SELECT app_id, installation_id FROM installation_app WHERE installation_uuid = $1",
                installation_uuid,
            )
            if held is None:
                return False
            copy = held["installation_id"], installation_uuid
            await retire_copies(connection, held["app_id"], [copy], now, actor)
        return True


async def retire_copies(
    connection: Connection, app_id: str, copies: Sequence[tuple[int, UUID]], now: datetime, actor: Actor
) -> int:
    """Retire copies of an app, given as (installation_id, installation_uuid), with their device tokens and install_
    tokens. Returns how many were not retired before."""
    numbers, uuids = [number for number, _ in copies], [uuid for _, uuid in copies]
    retired = await connection.fetch(_RETIRE, app_id, numbers, uuids, now)
    await retire_tokens(connection, [(app_id, row["installation_id"], "removed") for row in retired], now)
    detail = {"app_id": app_id}
    entries = [
        AuditEntry(AuditAction.INSTALLATION_RETIRED, str(row["installation_uuid"]), detail=detail)
        for row in retired
    ]
    await audit.write_entries(connection, actor, now, *entries)
    return len(retired)
