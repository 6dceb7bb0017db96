"""Device tokens: each installation registers one of each kind.

Apps register at every launch. Registering the active token again writes nothing, except, at most every ten minutes, the
time at which the installation was seen. A token that is active at another installation of the app leaves that one: APNs
gives a token to one installation at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import asyncpg

from relay.core.errors import Unavailable
from relay.store import sql
from relay.store.database import Connection, Database, TransactionConflict

MAX_TOKEN_KINDS = 100
"""Kinds of device tokens that an installation may have: each Live Activity is one."""
SIGHTING_STEP = timedelta(minutes=10)
"""How precisely the last sighting of an installation is stored: each step is a row written.

A 410 of APNs that is older than the last registration of its token retires nothing, so this step is also the largest
error of that comparison.
"""
_LONGEST_ACTIVITY = timedelta(days=1)
"""Apple ends a Live Activity after eight hours, and takes it off the screen four hours later."""
_ATTEMPTS = 4
_SQL = sql.load(__package__, "device_tokens.sql")


class TooManyTokenKinds(Exception):
    """The installation has `MAX_TOKEN_KINDS` kinds of active device tokens already."""


class InstallationRetirement(NamedTuple):
    """An installation whose device tokens are retired, and the reason."""

    app_id: str
    installation_id: int
    reason: str


class DeviceTokenRepository:
    """The device tokens of all installations."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def register_token(
        self, app_id: str, installation_id: int, serial: int, kind: str, token: bytes, now: datetime
    ) -> bool:
        """Make `token` the installation's active token of its kind. Returns False if the installation was retired.

        Raises:
            TooManyTokenKinds: The installation has no room for another kind.
            Unavailable: The database is away, or too many installations register this token at once.
        """
        async with self._database.connection() as connection:
            was_seen = await connection.fetchval(
                _SQL["was_seen"], app_id, installation_id, kind, token, now - SIGHTING_STEP
            )
            if was_seen is False:
                await connection.execute(_SQL["record_sighting"], app_id, installation_id, now)
            if was_seen is not None:  # it is the active token already
                return True
        for _ in range(_ATTEMPTS):
            try:
                async with self._database.transaction() as connection:
                    if not await connection.fetchval(
                        _SQL["hold_installation"], app_id, installation_id, serial
                    ):
                        return False
                    await _store(connection, app_id, installation_id, kind, token, now)
                return True
            except (asyncpg.UniqueViolationError, TransactionConflict):
                continue  # another installation registered the token meanwhile: the next attempt sees it
        raise Unavailable("Too many registrations of the same device token at the same time.")

    async def withdraw_token(self, app_id: str, installation_id: int, kind: str, now: datetime) -> None:
        """Retire the installation's token of that kind, if it has one."""
        async with self._database.connection() as connection:
            await connection.execute(_SQL["withdraw"], app_id, installation_id, kind, now)


async def retire_all_tokens(
    connection: Connection, installations: Sequence[InstallationRetirement], now: datetime
) -> None:
    """Retire all device tokens of installations in the caller's transaction."""
    if installations:
        await connection.execute(
            _SQL["retire_all"],
            [installation.app_id for installation in installations],
            [installation.installation_id for installation in installations],
            [installation.reason for installation in installations],
            now,
        )


async def _store(
    connection: Connection, app_id: str, installation_id: int, kind: str, token: bytes, now: datetime
) -> None:
    key = app_id, installation_id, kind, token
    await connection.execute(_SQL["lock"], *key)
    await connection.execute(_SQL["retire_elsewhere"], *key, now)
    if kind.startswith("liveactivity:"):
        # Each activity is a kind of its own that ends within hours, and an app may never report its end. Without this
        # their rows would pile up, and take the room of other activities.
        await connection.execute(
            _SQL["delete_ended_activities"], app_id, installation_id, now - _LONGEST_ACTIVITY
        )
    if await connection.execute(_SQL["store"], *key, now, MAX_TOKEN_KINDS) == "INSERT 0 0":
        raise TooManyTokenKinds
