"""Installations: copies of apps on devices, read for the copies themselves and retired for the store.

`enrolments.py` stores them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from relay.core.accounts import Environment
from relay.core.ids import AppId, InstallationId
from relay.store import sql
from relay.store.database import Connection, Database
from relay.store.installations.device_tokens import InstallationRetirement, retire_all_tokens
from relay.store.operations import audit
from relay.store.operations.audit import Actor, AuditAction, AuditEntry

RETIRED_PER_TRANSACTION = 500
"""Installations to retire in one transaction: enrolments and sends wait for no more than these."""
_SQL = sql.load(__package__, "installations.sql")


@dataclass(frozen=True, slots=True)
class Installation:
    """An installation with the identifiers that its publisher knows."""

    app_id: AppId
    installation_id: InstallationId
    installation_uuid: UUID
    alongside: str
    bundle_id: str
    team_id: str
    environment: Environment | None
    app_version: str
    customer_identifier: str
    device_identifier: str


@dataclass(frozen=True, slots=True)
class ActiveInstallation:
    """An installation that is not retired, with the identifiers that its publisher knows.

    `tokens` is the number of its active device tokens.
    """

    app_id: AppId
    installation_id: InstallationId
    installation_uuid: UUID
    alongside: str
    app_version: str
    customer: str
    device: str
    tokens: int


class _InstallationKey(NamedTuple):
    installation_id: int
    installation_uuid: UUID


class InstallationRepository:
    """The stored installations of all apps."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find_installation(
        self, app_id: str, installation_uuid: UUID, serial: int
    ) -> Installation | None:
        """Return the installation that an install_ token acts for, or None if the token is no longer valid."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_SQL["find"], app_id, installation_uuid, serial)
        if row is None:
            return None
        environment = row["environment"]
        return Installation(**{**row, "environment": environment and Environment(environment)})

    async def find_app_of_installation(self, installation_uuid: UUID) -> str | None:
        """Return the app that an installation UUID belongs or belonged to, or None if the UUID is unknown."""
        async with self._database.connection() as connection:
            app_id: str | None = await connection.fetchval(_SQL["find_app"], installation_uuid)
        return app_id

    async def identifier_exists(self, app_id: str, identifier: str) -> bool:
        """Return whether the app has or had the customer or device with that identifier."""
        async with self._database.connection() as connection:
            return bool(await connection.fetchval(_SQL["identifier_exists"], app_id, identifier))

    async def count_active_installations(self, app_id: str) -> int:
        """Return how many installations of the app are not retired."""
        async with self._database.connection() as connection:
            count: int = await connection.fetchval(_SQL["count_active"], app_id)
        return count

    async def list_active_installations(
        self, app_id: str, subject: str | UUID | None, after: int = 0, limit: int = RETIRED_PER_TRANSACTION
    ) -> list[ActiveInstallation]:
        """Return up to `limit` installations of the app that are not retired, whose ids follow `after`.

        `subject` is a `c_` or `d_` identifier, an installation UUID, or None for all installations of the app.
        """
        arguments = () if subject is None else (subject,)
        if subject is None:
            statement = "list_active"
        elif isinstance(subject, UUID):
            statement = "list_active_with_uuid"
        elif subject.startswith("c_"):
            statement = "list_active_of_customer"
        else:
            statement = "list_active_of_device"
        async with self._database.connection() as connection:
            rows = await connection.fetch(_SQL[statement], app_id, after, limit, *arguments)
        return [ActiveInstallation(**row) for row in rows]

    async def retire_installation(self, installation_uuid: UUID, now: datetime, actor: Actor) -> bool:
        """Retire an installation, its device tokens and its install_ token. Returns False if the UUID is unknown.

        Does nothing for an installation that is retired already, or whose UUID was replaced by another one.
        """
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(_SQL["find_by_uuid"], installation_uuid)
            if row is None:
                return False
            key = _InstallationKey(row["installation_id"], installation_uuid)
            await _retire(connection, row["app_id"], [key], now, actor)
        return True

    async def retire_installations(
        self, app_id: str, installations: Sequence[ActiveInstallation], now: datetime, actor: Actor
    ) -> int:
        """Retire installations of an app in one transaction, with an audit entry for each.

        Returns how many of them were not retired before.
        """
        keys = [_InstallationKey(each.installation_id, each.installation_uuid) for each in installations]
        async with self._database.transaction() as connection:
            return await _retire(connection, app_id, keys, now, actor)


async def _retire(
    connection: Connection, app_id: str, keys: Sequence[_InstallationKey], now: datetime, actor: Actor
) -> int:
    rows = await connection.fetch(
        _SQL["retire"],
        app_id,
        [key.installation_id for key in keys],
        [key.installation_uuid for key in keys],
        now,
    )
    retirements = [InstallationRetirement(app_id, row["installation_id"], "removed") for row in rows]
    await retire_all_tokens(connection, retirements, now)
    detail = {"app_id": app_id}
    entries = [
        AuditEntry(AuditAction.INSTALLATION_RETIRED, str(row["installation_uuid"]), detail=detail)
        for row in rows
    ]
    await audit.write_entries(connection, actor, now, *entries)
    return len(rows)
