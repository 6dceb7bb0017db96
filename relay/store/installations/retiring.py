"""SQL of retiring many copies of an app at once: those of a device, of a customer, or all. For operators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from relay.store.database import Database
from relay.store.installations.installations import retire_copies
from relay.store.operations.audit import Actor

PIECE = 500
"""Copies that are retired in one transaction: those who enrol or send wait for no more."""

_COPIES = """
SELECT i.app_id, i.installation_id, i.installation_uuid, i.alongside, i.app_version, c.value AS customer,
    d.value AS device,
    (
        SELECT count(*) FROM device_token t
        WHERE t.app_id = i.app_id AND t.installation_id = i.installation_id AND t.retired_at IS NULL
    ) AS tokens
FROM installation i
JOIN scoped_identifier c ON c.app_id = i.app_id AND c.kind = 'c' AND c.subject = i.customer_id
JOIN scoped_identifier d ON d.app_id = i.app_id AND d.kind = 'd' AND d.subject = i.device_id
WHERE i.app_id = $1 AND i.retired_at IS NULL AND i.installation_id > $2
"""
_IN_ORDER = "ORDER BY i.installation_id LIMIT $3"
_SUBJECT = "(SELECT s.subject FROM scoped_identifier s WHERE s.app_id = $1 AND s.value = $4 AND s.kind = "
_OF_APP = _COPIES + _IN_ORDER
_OF_CUSTOMER = f"{_COPIES} AND i.customer_id = {_SUBJECT} 'c') {_IN_ORDER}"
_OF_DEVICE = f"{_COPIES} AND i.device_id = {_SUBJECT} 'd') {_IN_ORDER}"
_OF_UUID = f"{_COPIES} AND i.installation_uuid = $4 {_IN_ORDER}"
_APP_OF_UUID = "SELECT app_id FROM installation_app WHERE installation_uuid = $1"
_ACTIVE = "SELECT count(*) FROM installation WHERE app_id = $1 AND retired_at IS NULL"
_KNOWN = "SELECT true FROM scoped_identifier WHERE app_id = $1 AND value = $2"


@dataclass(frozen=True, slots=True)
class ActiveCopy:
    """A copy that is not retired, with the identifiers its publisher knows. `tokens`: its active device tokens."""

    app_id: str
    installation_id: int
    installation_uuid: UUID
    alongside: str
    app_version: str
    customer: str
    device: str
    tokens: int


class Retiring:
    """Finds copies that are in use, and retires them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def app_of(self, installation_uuid: UUID) -> str | None:
        """The app that an installation UUID is, or was, of."""
        async with self._database.connection() as connection:
            found: str | None = await connection.fetchval(_APP_OF_UUID, installation_uuid)
        return found

    async def knows(self, app_id: str, identifier: str) -> bool:
        """Whether the app has, or had, that customer or device."""
        async with self._database.connection() as connection:
            return bool(await connection.fetchval(_KNOWN, app_id, identifier))

    async def count(self, app_id: str) -> int:
        """How many copies of the app are in use."""
        async with self._database.connection() as connection:
            count: int = await connection.fetchval(_ACTIVE, app_id)
        return count

    async def copies(
        self, app_id: str, subject: str | UUID | None, after: int = 0, limit: int = PIECE
    ) -> list[ActiveCopy]:
        """Up to `limit` copies of the app in use whose number follows `after`.

        `subject` is a c_ or d_ identifier, an installation UUID, or None for all copies of the app.
        """
        of_subject: Sequence[object]
        if subject is None:
            query, of_subject = _OF_APP, ()
        elif isinstance(subject, UUID):
            query, of_subject = _OF_UUID, (subject,)
        else:
            query, of_subject = _OF_CUSTOMER if subject.startswith("c_") else _OF_DEVICE, (subject,)
        async with self._database.connection() as connection:
            rows = await connection.fetch(query, app_id, after, limit, *of_subject)
        return [ActiveCopy(**row) for row in rows]

    async def retire(self, app_id: str, copies: Sequence[ActiveCopy], now: datetime, actor: Actor) -> int:
        """Retire these copies of the app, in one transaction; an audit entry for each. Returns how many were in use."""
        async with self._database.transaction() as connection:
            named = [(copy.installation_id, copy.installation_uuid) for copy in copies]
            return await retire_copies(connection, app_id, named, now, actor)
