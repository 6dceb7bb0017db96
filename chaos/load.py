"""The load: sends to one and to all, copies that are installed and removed, an operator who resumes credentials.

The amount sent follows the pace of the relay, not a rate: on a slow machine a run is smaller, not longer.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any, Literal
from uuid import UUID

import asyncpg

from chaos.store import ChaosApi, ChaosApp, ChaosStore

_PUBLISHER_COUNT = 4
_TTL_SECONDS = 6 * 3600
"""Longer than a run: no push may expire in it."""
_CANCELLED_SHARE = 0.2
"""Share of the large pushes that are cancelled within a second."""
_LONG_QUEUE = 2_000
"""Installations in the queue above which single pushes are sent seldom."""
_WAITING = """
SELECT (SELECT coalesce(sum(cardinality(installations)), 0)::bigint FROM batch)
     + (SELECT count(*) FROM batch) + (SELECT count(*) FROM broadcast)
"""


class Load:
    """The load on a cluster. `fan_out` is the number of destinations of a large push.

    Attributes:
        accepted: by push with a 202, the number of its targets; None for a push to all.
        cancelled: pushes that were cancelled, or may be, as no answer came.
        answers: the number of answers to sends by HTTP status, 0 for none.
        changes: the number of copies that were installed, registered again, or removed.
        resumed: the number of credentials that the operator resumed.
        paused_operator: while True no credential is resumed, as the fault that suspends it lasts.
    """

    def __init__(
        self,
        postgres_url: str,
        api: ChaosApi,
        store: ChaosStore,
        apps: tuple[ChaosApp, ChaosApp],
        chance: random.Random,
        fan_out: int,
    ) -> None:
        self.accepted: dict[UUID, int | None] = {}
        self.cancelled: set[UUID] = set()
        self.answers: Counter[int] = Counter()
        self.changes: Counter[str] = Counter()
        self.resumed = 0
        self.paused_operator = False
        self._postgres_url = postgres_url
        self._api = api
        self._store = store
        self._large, self._small = apps
        self._chance = chance
        self._fan_out = fan_out
        self._waiting = 0
        self._serial = 0

    async def run(self) -> None:
        """Put load on the cluster until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(_PUBLISHER_COUNT):
                tasks.create_task(self._send_singles())
            tasks.create_task(self._send_fan_outs())
            tasks.create_task(self._change_copies())
            tasks.create_task(self.look_after_credentials())
            tasks.create_task(self._watch_queue())

    async def look_after_credentials(self) -> None:
        """Resume suspended credentials every second, as an operator does."""
        while True:
            await asyncio.sleep(1.0)
            if not self.paused_operator:
                self.resumed += await self._store.resume_credentials()

    async def _send_singles(self) -> None:
        while True:
            app = self._small if self._chance.random() < 0.7 else self._large
            copy = self._chance.choice(app.copies) if app.copies and self._chance.random() < 0.5 else None
            if copy is not None:
                await self._send(app, {copy.customer: [copy.device]})
            else:
                await self._send(app, {self._chance.choice(app.customers): []})
            await asyncio.sleep(0.02 if self._waiting < _LONG_QUEUE else 0.5)

    async def _send_fan_outs(self) -> None:
        to_all = False
        while True:
            if self._waiting < self._fan_out // 10:
                named: dict[str, list[str]] = {
                    customer: [] for customer in self._large.customers[: self._fan_out]
                }
                push_id = await self._send(self._large, "all" if to_all else named)
                if push_id is not None:
                    to_all = not to_all
                    if self._chance.random() < _CANCELLED_SHARE:
                        await asyncio.sleep(self._chance.uniform(0.0, 1.0))
                        await self._cancel(self._large, push_id)
            await asyncio.sleep(1.0)

    async def _cancel(self, app: ChaosApp, push_id: UUID) -> None:
        self.cancelled.add(push_id)
        await self._api.call("DELETE", f"/v1.0/pushes/{push_id}/", app.push_token)

    async def _send(self, app: ChaosApp, destinations: dict[str, list[str]] | Literal["all"]) -> UUID | None:
        """Send one push, and return its id if it was accepted. A push without a 202 is not repeated."""
        self._serial += 1
        body: dict[str, Any] = {
            "app_id": app.app_id,
            "payload": {"aps": {"alert": {"title": "chaos", "body": f"number {self._serial}"}}},
            "destinations": destinations,
            "ttl": _TTL_SECONDS,
        }
        status, answer = await self._api.call("POST", "/v1.0/send/", app.push_token, body)
        self.answers[status] += 1
        if status == 202:
            push_id = UUID(answer["push_id"])
            self.accepted[push_id] = answer["targets"]
            return push_id
        await asyncio.sleep(self._chance.uniform(0.05, 0.5))
        return None

    async def _change_copies(self) -> None:
        while True:
            app = self._chance.choice((self._small, self._large))
            change = self._chance.choice(("install", "register", "remove"))
            if change == "install" or not app.copies:
                app.copies.append(await self._store.install(app))
                self.changes["installed"] += 1
            elif change == "register":
                await self._store.register(app, self._chance.choice(app.copies))
                self.changes["registered again"] += 1
            else:
                copy = app.copies.pop(self._chance.randrange(len(app.copies)))
                await self._store.remove(copy)
                self.changes["removed"] += 1
            await asyncio.sleep(self._chance.uniform(0.1, 0.4))

    async def _watch_queue(self) -> None:
        while True:
            count = await count_waiting(self._postgres_url)
            self._waiting = self._waiting if count is None else count
            await asyncio.sleep(1.0)


async def count_waiting(postgres_url: str) -> int | None:
    """Return the number of installations and rows in the queue, or None while the database is away."""
    try:
        connection = await asyncpg.connect(postgres_url, timeout=10)
        try:
            return int(await connection.fetchval(_WAITING, timeout=30))
        finally:
            await connection.close(timeout=5)
    except (
        OSError,
        TimeoutError,
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,
    ):
        return None
