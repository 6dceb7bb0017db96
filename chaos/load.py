"""The load: publishers who send to one and to all, copies that come and go, an operator who resumes credentials.

How much is sent goes by what is worked off, not by a rate: on a slow machine a run is smaller, not longer.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any, Literal
from uuid import UUID

import asyncpg

from chaos.store import ChaosApi, ChaosApp, ChaosStore

_PUBLISHERS = 4
_TTL = 6 * 3600
"""Seconds a push is good for: nothing may expire in a run."""
_CANCELLED = 0.2
"""Of the large pushes so many are cancelled, within a second."""
_TOO_MUCH = 2_000
"""Installations in the queue above which single pushes become few."""
_WAITING = """
SELECT (SELECT coalesce(sum(cardinality(installations)), 0)::bigint FROM batch)
     + (SELECT count(*) FROM batch) + (SELECT count(*) FROM broadcast)
"""


class Load:
    """Runs until cancelled. `fan_out` is the number of destinations of a large push.

    Attributes:
        accepted: by push that got a 202, how many installations it said it would try; None for a push to all.
        cancelled: pushes that were cancelled, or may be: the answer did not come.
        answers: to sends, by HTTP status; 0 where there was none.
        changes: copies that came, changed their device token, or went.
        resumed: credentials that the operator resumed.
        paused_operator: while True no credential is resumed: what makes it fail is still there.
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
        """Everybody at work."""
        async with asyncio.TaskGroup() as everybody:
            for _ in range(_PUBLISHERS):
                everybody.create_task(self._send_singles())
            everybody.create_task(self._send_fan_outs())
            everybody.create_task(self._change_copies())
            everybody.create_task(self.look_after_credentials())
            everybody.create_task(self._watch_queue())

    async def look_after_credentials(self) -> None:
        """The operator: looks every second."""
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
            await asyncio.sleep(0.02 if self._waiting < _TOO_MUCH else 0.5)

    async def _send_fan_outs(self) -> None:
        to_all = False
        while True:
            if self._waiting < self._fan_out // 10:
                named: dict[str, list[str]] = {one: [] for one in self._large.customers[: self._fan_out]}
                push_id = await self._send(self._large, "all" if to_all else named)
                if push_id is not None:
                    to_all = not to_all
                    if self._chance.random() < _CANCELLED:
                        await asyncio.sleep(self._chance.uniform(0.0, 1.0))
                        await self._cancel(self._large, push_id)
            await asyncio.sleep(1.0)

    async def _cancel(self, app: ChaosApp, push_id: UUID) -> None:
        self.cancelled.add(push_id)
        await self._api.call("DELETE", f"/v1.0/pushes/{push_id}/", app.push_token)

    async def _send(self, app: ChaosApp, destinations: dict[str, list[str]] | Literal["all"]) -> UUID | None:
        """One push; its id if it was accepted. What got no 202 is never sent again: what follows is another push."""
        self._serial += 1
        body: dict[str, Any] = {
            "app_id": app.app_id,
            "payload": {"aps": {"alert": {"title": "chaos", "body": f"number {self._serial}"}}},
            "destinations": destinations,
            "ttl": _TTL,
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
            what = self._chance.choice(("install", "register", "remove"))
            if what == "install" or not app.copies:
                app.copies.append(await self._store.install(app))
                self.changes["installed"] += 1
            elif what == "register":
                await self._store.register(app, self._chance.choice(app.copies))
                self.changes["registered again"] += 1
            else:
                copy = app.copies.pop(self._chance.randrange(len(app.copies)))
                await self._store.remove(copy)
                self.changes["removed"] += 1
            await asyncio.sleep(self._chance.uniform(0.1, 0.4))

    async def _watch_queue(self) -> None:
        while True:
            found = await waiting(self._postgres_url)
            self._waiting = self._waiting if found is None else found
            await asyncio.sleep(1.0)


async def waiting(postgres_url: str) -> int | None:
    """Installations and rows in the queue, 0 if it is empty; None while the database is away."""
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
