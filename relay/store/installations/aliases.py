"""Aliases: further addresses of a customer of an app. Only keyed digests of the addresses are stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from relay.store import sql
from relay.store.database import Connection, Database
from relay.store.operations import audit
from relay.store.operations.audit import Actor, AuditAction, AuditEntry

MAX_ALIASES = 20
"""Aliases of one customer, and customers with one alias, at most: a request names up to 50,000 addresses."""
_SQL = sql.load(__package__, "aliases.sql")


class TooManyAliases(Exception):
    """The customer has `MAX_ALIASES` aliases already, or `MAX_ALIASES` customers have this one."""


class AliasActor(NamedTuple):
    """The author of a change of aliases, and the publisher whose log records it."""

    actor: Actor
    publisher_id: UUID | None


@dataclass(frozen=True, slots=True)
class Alias:
    """An alias as it is shown: without the address, of which only the digest is stored."""

    alias_id: UUID
    created_at: datetime


class AttachedAlias(NamedTuple):
    """An alias that a customer has now. `created` is False if the customer had it before."""

    alias: Alias
    created: bool


class AliasRepository:
    """The aliases of all customers. A customer is named by its `c_` identifier.

    `by` is None where an installation acts for its own customer. Such changes are not in the audit log, and neither are
    those of its device tokens.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def attach_alias(
        self, app_id: str, customer: str, digest: bytes, new: Alias, by: AliasActor | None
    ) -> AttachedAlias | None:
        """Give a customer an alias. Returns None if the app has no such customer.

        Raises:
            TooManyAliases: The customer, or the address, has no room for it.
        """
        async with self._database.transaction() as connection:
            customer_id = await connection.fetchval(_SQL["lock_customer"], app_id, customer)
            if customer_id is None:
                return None
            row = await connection.fetchrow(_SQL["find"], app_id, digest, customer_id)
            if row is not None:
                return AttachedAlias(Alias(**row), created=False)
            aliases = len(await connection.fetch(_SQL["list_of_customer"], app_id, customer_id))
            holders = await connection.fetchval(_SQL["count_holders"], app_id, digest)
            if max(aliases, holders) >= MAX_ALIASES:
                raise TooManyAliases
            await connection.execute(
                _SQL["insert"], app_id, digest, customer_id, new.alias_id, new.created_at
            )
            await _write_entry(
                connection, by, AuditAction.ALIAS_ATTACHED, new.alias_id, app_id, new.created_at
            )
        return AttachedAlias(new, created=True)

    async def list_aliases(self, app_id: str, customer: str) -> Sequence[Alias] | None:
        """Return all aliases of a customer, oldest first, or None if the app has no such customer."""
        async with self._database.connection() as connection:
            customer_id = await connection.fetchval(_SQL["find_customer"], app_id, customer)
            if customer_id is None:
                return None
            rows = await connection.fetch(_SQL["list_of_customer"], app_id, customer_id)
        return [Alias(**row) for row in rows]

    async def remove_alias(
        self, app_id: str, customer: str, alias_id: UUID, now: datetime, by: AliasActor | None
    ) -> bool:
        """Take an alias from a customer. Returns False if the customer has no such alias."""
        async with self._database.transaction() as connection:
            customer_id = await connection.fetchval(_SQL["find_customer"], app_id, customer)
            if not await connection.fetchval(_SQL["delete"], app_id, customer_id, alias_id):
                return False
            await _write_entry(connection, by, AuditAction.ALIAS_REMOVED, alias_id, app_id, now)
        return True

    async def may_installations_attach(self, app_id: str) -> bool:
        """Return whether installations of the app may change the aliases of their customer."""
        async with self._database.connection() as connection:
            return bool(await connection.fetchval(_SQL["may_installations_attach"], app_id))


async def _write_entry(
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
