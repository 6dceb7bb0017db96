"""Apps with many installations, and broadcasts to them."""

from __future__ import annotations

from uuid import UUID

from relay.store.database import Database
from relay.store.push.broadcasts import BroadcastRepository
from relay.store.push.reports import PushReportRepository
from tests.factories import make_push_request
from tests.store.push.batch_queue import NOW, store_push


class Audience:
    """Apps with installations, written directly: there are too many of them for an API call each."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._pushes = 0
        self._last_app = ""

    async def app(self, app_id: str, installations: int) -> None:
        """Store an app. Every tenth installation has no device token, and every eleventh is retired."""
        async with self._database.connection() as connection:
            await connection.execute(
                """
                WITH enrolled AS (
                    INSERT INTO installation (app_id, installation_uuid, customer_id, device_id, alongside,
                                              bundle_id, team_id, enrolled_at, retired_at)
                    SELECT $1, gen_random_uuid(), n, n, gen_random_uuid()::text, 'b', 't', $3::timestamptz,
                           CASE WHEN n % 11 = 0 THEN $3::timestamptz END
                    FROM generate_series(1, $2::int) AS n RETURNING app_id, installation_id, customer_id
                )
                INSERT INTO device_token (app_id, installation_id, token, registered_at)
                SELECT app_id, installation_id, uuid_send(gen_random_uuid()), $3::timestamptz
                FROM enrolled WHERE customer_id % 10 <> 0
                """,
                app_id,
                installations,
                NOW,
            )

    async def reachable(self, app_id: str) -> set[int]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                "SELECT installation_id FROM installation JOIN device_token USING (app_id, installation_id) "
                "WHERE app_id = $1 AND installation.retired_at IS NULL",
                app_id,
            )
        return {row[0] for row in rows}

    async def send(self, app_id: str, token_kind: str = "apns") -> UUID:
        self._pushes += 1
        request = make_push_request(number=self._pushes, app_id=app_id, everyone=True, token_kind=token_kind)
        await store_push(self._database, request, 0, 5, lambda: 1)
        return request.push_id

    async def cut(self, due_limit: int = 1000, queue_limit: int = 10_000, size: int = 20) -> int | None:
        """Cut a piece of `size` installations. Returns how many have a device token, None if there was no turn."""
        async with self._database.connection() as connection:
            piece = await BroadcastRepository(self._database).cut_broadcast(
                connection,
                size,
                5,
                NOW,
                after_app=self._last_app,
                due_limit=due_limit,
                queue_limit=queue_limit,
            )
        if piece is None:
            return None
        self._last_app = piece.app_id
        return piece.with_token

    async def cut_all(self, due_limit: int = 1000, queue_limit: int = 10_000, size: int = 20) -> list[int]:
        """Cut until no app has a turn. Returns what `cut` returned for each piece."""
        pieces = []
        while (count := await self.cut(due_limit, queue_limit, size)) is not None:
            pieces.append(count)
        return pieces

    async def batches(self, push: UUID) -> list[list[int]]:
        async with self._database.connection() as connection:
            rows = await connection.fetch("SELECT installations FROM batch WHERE push_id = $1", push)
        return [row[0] for row in rows]

    async def targets(self, app_id: str, push: UUID) -> tuple[int, bool]:
        """The targets counted so far, and whether the broadcast still grows."""
        stored = await PushReportRepository(self._database).find_push([app_id], push)
        assert stored is not None
        return stored.targets, stored.growing
