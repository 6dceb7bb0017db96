"""Aliases: the addresses that a customer of an app is reached by as well. Only their keyed digests are here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from relay.store.database import Connection, Database
from relay.store.operations import audit
from relay.store.operations.audit import Actor, AuditAction, AuditEntry

MOST = 20
"""Aliases that a customer may have, and customers that may have the same one: a request names 50,000 addresses."""

_CUSTOMER = "SELECT subject FROM scoped_identifier WHERE app_id = $1 AND value = $2 AND kind = 'c'"
_LOCK = f"{_CUSTOMER} FOR NO KEY UPDATE"
_OF_CUSTOMER = """
SELECT alias_id, created_at FROM alias WHERE app_id = $1 AND customer_id = $2 ORDER BY alias_id
"""
_FIND = "SELECT alias_id, created_at FROM alias WHERE app_id = $1 AND digest = $2 AND customer_id = $3"
_HOLDERS = "SELECT count(*) FROM alias WHERE app_id = $1 AND digest = $2"
_INSERT = """
INSERT INTO alias (app_id, digest, customer_id, alias_id, created_at) VALUES ($1, $2, $3, $4, $5)
"""
_REMOVE = "DELETE FROM alias WHERE app_id = $1 AND customer_id = $2 AND alias_id = $3 RETURNING true"
_COPIES_MAY = "SELECT installations_attach_aliases FROM app WHERE app_id = $1"


class TooManyAliases(Exception):
    """The customer has `MOST` aliases already, or `MOST` customers have that one."""


class AliasActor(NamedTuple):
    """Who changes aliases, and in whose log that is to be read."""

    actor: Actor
    publisher_id: UUID | None


@dataclass(frozen=True, slots=True)
class Alias:
    """An alias as it is shown: without the address, which is not known any more."""

    alias_id: UUID
    created_at: datetime


class Attached(NamedTuple):
    """An alias that the customer has now. `created`: it had not before."""

    alias: Alias
    created: bool


class Aliases:
    """The aliases of all customers. A customer is named by its c_ identifier.

    `by` is None for a copy that acts for its own customer: that is not in the audit log, like its device tokens.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def attach(
        self, app_id: str, customer: str, digest: bytes, new: Alias, by: AliasActor | None
    ) -> Attached | None:
        """Give a customer an alias. None: the app has no such customer. Raises TooManyAliases."""
        async with self._database.transaction() as connection:
            customer_id = await connection.fetchval(_LOCK, app_id, customer)
            if customer_id is None:
                return None
            row = await connection.fetchrow(_FIND, app_id, digest, customer_id)
            if row is not None:
                return Attached(Alias(**row), created=False)
            own = len(await connection.fetch(_OF_CUSTOMER, app_id, customer_id))
            if max(own, await connection.fetchval(_HOLDERS, app_id, digest)) >= MOST:
                raise TooManyAliases
            await connection.execute(_INSERT, app_id, digest, customer_id, new.alias_id, new.created_at)
            await _log(connection, by, AuditAction.ALIAS_ATTACHED, new.alias_id, app_id, new.created_at)
        return Attached(new, created=True)

    async def of_customer(self, app_id: str, customer: str) -> Sequence[Alias] | None:
        """All aliases of a customer, oldest first. None: the app has no such customer."""
        async with self._database.connection() as connection:
            customer_id = await connection.fetchval(_CUSTOMER, app_id, customer)
            if customer_id is None:
                return None
            return [Alias(**row) for row in await connection.fetch(_OF_CUSTOMER, app_id, customer_id)]

    async def remove(
        self, app_id: str, customer: str, alias_id: UUID, now: datetime, by: AliasActor | None
    ) -> bool:
        """Take an alias from a customer. False if the customer has no such alias."""
        async with self._database.transaction() as connection:
            customer_id = await connection.fetchval(_CUSTOMER, app_id, customer)
            if not await connection.fetchval(_REMOVE, app_id, customer_id, alias_id):
                return False
            await _log(connection, by, AuditAction.ALIAS_REMOVED, alias_id, app_id, now)
        return True

    async def copies_may_attach(self, app_id: str) -> bool:
        """Whether copies of that app may change the aliases of their customer."""
        async with self._database.connection() as connection:
            return bool(await connection.fetchval(_COPIES_MAY, app_id))


async def _log(
    connection: Connection,
    by: AliasActor | None,
    action: AuditAction,
    alias_id: UUID,
    app_id: str,
    now: datetime,
) -> None:
    if by is not None:
        entry = AuditEntry(action, str(alias_id), by.publisher_id, {"app_id": app_id})
        await audit.write_entries(connection, by.actor, now, entry)
