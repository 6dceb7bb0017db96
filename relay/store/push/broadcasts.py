"""Pushes to every customer of an app: the database cuts them into batches, piece by piece.

Nothing of a piece passes through the relay, so its memory does not grow with the audience.
"""

from __future__ import annotations

from datetime import datetime

from relay.store import sql
from relay.store.database import Connection, Database
from relay.store.push.records import MAX_SMALL_BATCH_SIZE, BroadcastPiece, BroadcastReach

_SQL = sql.load(__package__, "broadcasts.sql")


class BroadcastRepository:
    """The broadcasts that have not been cut to their end."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def adopt_broadcasts(self, connection: Connection, running_since: datetime) -> None:
        """Have new broadcasts cut in the order of teams, unless a node of version 0.1 was seen since then."""
        await connection.execute(_SQL["adopt_broadcasts"], running_since)

    async def cut_by_team(
        self,
        connection: Connection,
        piece_size: int,
        batch_size: int,
        now: datetime,
        *,
        after_app: str = "",
        due_limit: int = 200,
        queue_limit: int = 100_000,
    ) -> BroadcastPiece | None:
        """Cut the next about `piece_size` installations of a broadcast into batches that hold whole teams.

        Runs in the caller's transaction. The app whose turn it is follows `after_app`, and has fewer than `due_limit`
        batches due and fewer than `queue_limit` in the queue. Passing the app of the last piece makes apps take turns.

        Returns None if no app has a broadcast that may be cut now.
        """
        locked = await connection.fetchrow(
            _SQL["lock_broadcast"],
            after_app,
            batch_size > MAX_SMALL_BATCH_SIZE,
            now,
            due_limit - 1,
            queue_limit - 1,
        )
        if locked is None:
            return None
        row = await connection.fetchrow(
            _SQL["cut_by_team"], *locked, piece_size, batch_size, MAX_SMALL_BATCH_SIZE
        )
        assert row is not None  # an aggregate without GROUP BY returns one row
        return BroadcastPiece(*row)

    async def cut_broadcast(
        self,
        connection: Connection,
        piece_size: int,
        batch_size: int,
        now: datetime,
        *,
        after_app: str = "",
        due_limit: int = 200,
        queue_limit: int = 100_000,
    ) -> BroadcastPiece | None:
        """Do the same in the order of installation ids, with a broadcast that a node of version 0.1 may be cutting.

        The app whose turn it is follows `after_app`, and has fewer than `due_limit` batches due and fewer than
        `queue_limit` in the queue. Passing the app of the last piece makes apps take turns.

        Returns None if no app has a broadcast that may be cut now.
        """
        row = await connection.fetchrow(
            _SQL["cut_broadcast"],
            piece_size,
            batch_size,
            MAX_SMALL_BATCH_SIZE,
            after_app,
            now,
            due_limit - 1,
            queue_limit - 1,
        )
        return BroadcastPiece(*row) if row else None

    async def count_broadcast_targets(
        self, app_id: str, token_kind: str, max_installations: int, *, listed_only: bool
    ) -> BroadcastReach | None:
        """Count what a push to everyone would reach. Returns None if the app has over `max_installations`.

        Raises:
            Unavailable: The database is away.
        """
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                _SQL["count_targets"], app_id, token_kind, listed_only, max_installations + 1
            )
        assert row is not None  # an aggregate without GROUP BY returns one row
        if row["copies"] > max_installations:
            return None
        return BroadcastReach(row["wanted"], row["found"] - row["wanted"])
