"""Device tokens: registered by the copies themselves, one of each kind.

Registering the token that is there already writes nothing but, at most every ten minutes, that the copy was seen:
apps do it at every launch. A token that is active at another copy of the app leaves that one: APNs gives a token to one
copy at a time.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import asyncpg

from relay.core.errors import Unavailable
from relay.store.database import Connection, Database, TransactionConflict

MOST_KINDS = 100
"""Kinds of tokens one copy may have: each Live Activity is one."""
_LONGEST_ACTIVITY = timedelta(days=1)
"""Apple ends a Live Activity after eight hours, and takes it off the screen four hours later."""
_ATTEMPTS = 4

SIGHTING = timedelta(minutes=10)
"""How exactly it is known when a copy was seen last: each step is a row written. A 410 that is older than the last time
its token was registered retires nothing, so this is also how wrong that can go."""

_WAS_SEEN = """
SELECT greatest(t.registered_at, s.seen_at) > $5
FROM device_token t LEFT JOIN sighting s ON s.app_id = t.app_id AND s.installation_id = t.installation_id
WHERE t.app_id = $1 AND t.installation_id = $2 AND t.kind = $3 AND t.token = $4 AND t.retired_at IS NULL
"""
_SEE = """
INSERT INTO sighting (app_id, installation_id, seen_at) VALUES ($1, $2, $3)
ON CONFLICT (app_id, installation_id) DO UPDATE SET seen_at = excluded.seen_at
"""
# Until the token is stored the copy must not be retired: whoever does waits, and then sees the token.
_HOLD = """
SELECT true FROM installation
WHERE app_id = $1 AND installation_id = $2 AND serial = $3 AND retired_at IS NULL FOR SHARE
"""
# Both rows in the order of their key, so that two copies exchanging tokens do not wait for one another.
_LOCK = """
SELECT installation_id, kind FROM device_token
WHERE app_id = $1 AND (installation_id = $2 AND kind = $3 OR token = $4 AND retired_at IS NULL)
ORDER BY installation_id, kind FOR UPDATE
"""
_LEAVE = """
UPDATE device_token SET retired_at = $5, retired_reason = 'moved'
WHERE app_id = $1 AND token = $4 AND retired_at IS NULL AND (installation_id, kind) <> ($2, $3)
"""
_PUT = """
INSERT INTO device_token (app_id, installation_id, kind, token, registered_at)
SELECT $1, $2, $3, $4, $5
WHERE (
    SELECT count(*) FROM (
        SELECT FROM device_token
        WHERE app_id = $1 AND installation_id = $2 AND kind <> $3 AND retired_at IS NULL LIMIT $6
    ) AS others
) < $6
ON CONFLICT (app_id, installation_id, kind) DO UPDATE SET
    token = excluded.token, registered_at = excluded.registered_at, retired_at = NULL, retired_reason = NULL
"""
_WITHDRAW = """
UPDATE device_token SET retired_at = $4, retired_reason = 'withdrawn'
WHERE app_id = $1 AND installation_id = $2 AND kind = $3 AND retired_at IS NULL
"""
_FORGET_ACTIVITIES = """
DELETE FROM device_token
WHERE app_id = $1 AND installation_id = $2 AND kind LIKE 'liveactivity:%'
      AND (retired_at IS NOT NULL OR registered_at < $3)
"""


class TooManyKinds(Exception):
    """The copy has `MOST_KINDS` kinds of active device tokens already."""


class DeviceTokens:
    """The device tokens of all copies."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def register(
        self, app_id: str, installation_id: int, serial: int, kind: str, token: bytes, now: datetime
    ) -> bool:
        """Make `token` the copy's active one of that kind. False if the copy was retired meanwhile.

        Raises TooManyKinds.
        """
        async with self._database.connection() as connection:
            was_seen = await connection.fetchval(
                _WAS_SEEN, app_id, installation_id, kind, token, now - SIGHTING
            )
            if was_seen is False:
                await connection.execute(_SEE, app_id, installation_id, now)
            if was_seen is not None:  # that is its active token
                return True
        for _ in range(_ATTEMPTS):
            try:
                async with self._database.transaction() as connection:
                    if not await connection.fetchval(_HOLD, app_id, installation_id, serial):
                        return False
                    await _store(connection, app_id, installation_id, kind, token, now)
                return True
            except (asyncpg.UniqueViolationError, TransactionConflict):
                continue  # another copy registered the same token at the same time: it is seen now
        raise Unavailable("Too many registrations of the same device token at the same time.")

    async def withdraw(self, app_id: str, installation_id: int, kind: str, now: datetime) -> None:
        """Retire the copy's token of that kind, if it has one."""
        async with self._database.connection() as connection:
            await connection.execute(_WITHDRAW, app_id, installation_id, kind, now)


async def _store(
    connection: Connection, app_id: str, installation_id: int, kind: str, token: bytes, now: datetime
) -> None:
    copy = app_id, installation_id, kind, token
    await connection.execute(_LOCK, *copy)
    await connection.execute(_LEAVE, *copy, now)
    if kind.startswith("liveactivity:"):
        # Every activity is a kind of its own and ends within hours: their rows would pile up. Nobody may ever tell that
        # one has ended, and it must not take the place of another.
        await connection.execute(_FORGET_ACTIVITIES, app_id, installation_id, now - _LONGEST_ACTIVITY)
    if await connection.execute(_PUT, *copy, now, MOST_KINDS) == "INSERT 0 0":
        raise TooManyKinds
