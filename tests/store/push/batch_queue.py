"""A queue filled without the rest of the relay, for tests of what runs on it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID, uuid4

from relay.core.delivery.plan import ClaimedBatch
from relay.core.push.request import PushRequest
from relay.store.database import Database
from relay.store.push.acceptance import AcceptanceRepository
from relay.store.push.batches import BatchRepository
from relay.store.push.records import DeliveryOutcome, Lease, Settlement
from relay.store.push.reports import PushReportRepository
from relay.store.push.settlement import SettlementRepository
from tests.factories import make_push_request, make_route

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LEASE = timedelta(seconds=30)
LATER = NOW + LEASE
HERE, THERE = uuid4(), uuid4()


async def store_push(
    database: Database,
    request: PushRequest,
    installations: int,
    batch_size: int,
    batch_id: Callable[[], int],
    lease: Lease | None = None,
) -> None:
    """Store a push to that number of installations, with the ids from 0 on. They have no rows of their own."""
    route = make_route(installations=range(installations))
    async with database.connection() as connection:
        await AcceptanceRepository(database).store_pushes(
            connection, [request], [route], [lease], batch_size, batch_id
        )


class BatchQueue:
    """The queue of a database, with pushes to installations that are just numbers."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.batches = BatchRepository(database)
        self._ids = count(1)

    async def put(
        self, installations: int, app_id: str = "app", lease: Lease | None = None, batch_size: int = 2000
    ) -> UUID:
        request = make_push_request(number=next(self._ids), app_id=app_id)
        await store_push(self.database, request, installations, batch_size, lambda: next(self._ids), lease)
        return request.push_id

    async def lease(
        self, owner: UUID = HERE, now: datetime = NOW, small: int = 500, bulk: int = 10
    ) -> list[ClaimedBatch]:
        return await self.batches.lease_batches(owner, now, now + LEASE, small, bulk)

    async def settle(self, settlement: Settlement, owner: UUID = HERE, now: datetime = NOW) -> set[int]:
        async with self.database.connection() as connection:
            return await SettlementRepository().settle_batches(
                connection, owner, settlement, now, now + LEASE, lambda: next(self._ids)
            )

    async def outcomes(self, push: UUID) -> list[tuple[str, str, int]]:
        return list(await PushReportRepository(self.database).count_outcomes("app", push))


def delivered(batch: ClaimedBatch) -> DeliveryOutcome:
    return DeliveryOutcome(batch, "delivered", 200, "", batch.installations)
