"""The state of the queue, for operators: how much waits, for how long, of which apps and for which credentials.

Nothing that sends pushes asks for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from relay.core.ids import AppId, BatchId, CredentialId, PushId
from relay.store import sql
from relay.store.database import Database

_MAX_ROWS_COUNTED = 200_000
"""Rows of a table that are read at most: beyond that it does not matter how much more there is."""
_MAX_NAMED = 20
"""Apps and credentials that are named: those with the most batches."""
_SQL = sql.load(__package__, "queue_state.sql")


class BatchState(StrEnum):
    """The states of a batch in the queue."""

    DUE = "due"
    """Waiting for a node to lease it."""
    LEASED = "leased"
    """Being sent by a node."""
    LATER = "later"
    """Due later: a retry, or a batch that found no room."""
    HELD = "held"
    """Waiting for a credential."""


class StateDepth(NamedTuple):
    """The batches and targets in one state. `bulk`: of pushes to many targets."""

    state: BatchState
    bulk: bool
    batches: int
    installations: int


class AppDepth(NamedTuple):
    """The batches and targets of one app. `oldest_due_seconds` is 0 if no batch is due."""

    app_id: AppId
    batches: int
    installations: int
    oldest_due_seconds: float


class HeldDepth(NamedTuple):
    """The number of batches that wait for a credential. Its id is 0 for a credential that does not exist yet."""

    credential_id: int
    batches: int


@dataclass(frozen=True, slots=True)
class QueueState:
    """The content of the queue at one moment.

    `due_batches`, `held_batches` and `leased` are parts of `batches`; `installations` are targets without an outcome.
    `broadcasts` are pushes to everyone that are not cut into batches to their end, `channel_pushes` are on their way to
    one of Apple's channels each, and `webhook_events` are messages that no receiver has taken yet.
    `oldest_due_seconds`: how long the oldest due batch has been waiting for a lease. `by_app` and `by_credential` name
    those with the most batches. `at_least`: there was more than is counted.
    """

    batches: int
    installations: int
    due_batches: int
    held_batches: int
    leased: int
    broadcasts: int
    channel_pushes: int
    webhook_events: int
    oldest_due_seconds: float
    by_state: list[StateDepth]
    by_app: list[AppDepth]
    by_credential: list[HeldDepth]
    at_least: bool

    @classmethod
    def of_depths(
        cls,
        by_state: list[StateDepth],
        by_app: list[AppDepth],
        by_credential: list[HeldDepth],
        oldest_due_seconds: float,
        others: tuple[int, int, int],
    ) -> QueueState:
        """Return the state with the sums of its parts. `others`: broadcasts, channel pushes and webhook events."""
        batches = dict.fromkeys(BatchState, 0)
        for depth in by_state:
            batches[depth.state] += depth.batches
        total = sum(batches.values())
        broadcasts, channel_pushes, webhook_events = others
        return cls(
            batches=total,
            installations=sum(depth.installations for depth in by_state),
            due_batches=batches[BatchState.DUE],
            held_batches=batches[BatchState.HELD],
            leased=batches[BatchState.LEASED],
            broadcasts=broadcasts,
            channel_pushes=channel_pushes,
            webhook_events=webhook_events,
            oldest_due_seconds=oldest_due_seconds,
            by_state=by_state,
            by_app=by_app,
            by_credential=by_credential,
            at_least=_MAX_ROWS_COUNTED in (total, *others),
        )


@dataclass(frozen=True, slots=True)
class WaitingBatch:
    """A batch in the queue. `held_by` is the id of the credential that it waits for, 0 for one that does not exist.

    `installations`: its targets without an outcome; `last_reason`: why it is retried or held.
    """

    push_id: PushId
    batch_id: BatchId
    installations: int
    bulk: bool
    attempt: int
    due_at: datetime
    held_by: CredentialId | None
    last_reason: str
    state: BatchState


@dataclass(frozen=True, slots=True)
class WaitingBroadcast:
    """A push to everyone that is not cut into batches to its end. `pieces`: the batches that were cut so far."""

    push_id: PushId
    pieces: int


@dataclass(frozen=True, slots=True)
class AppQueue:
    """The waiting batches and broadcasts of an app, the oldest first."""

    batches: list[WaitingBatch]
    broadcasts: list[WaitingBroadcast]


class QueueStateRepository:
    """The queue as operators look at it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read_queue_state(self, now: datetime) -> QueueState:
        """Return the state of the whole queue. Raises Unavailable.

        Reads up to 200,000 rows of each table, which takes a fraction of a second.
        """
        async with self._database.connection() as connection:
            rows = await connection.fetch(_SQL["count_batches"], now, _MAX_ROWS_COUNTED, _MAX_NAMED)
            others = await connection.fetchrow(_SQL["count_others"], _MAX_ROWS_COUNTED)
        assert others is not None  # a SELECT without FROM returns one row
        by_state: list[StateDepth] = []
        by_app: list[AppDepth] = []
        by_credential: list[HeldDepth] = []
        oldest_due_seconds = 0.0
        for state, bulk, app_id, held_by, batches, installations, age in rows:
            if state is not None:
                by_state.append(StateDepth(BatchState(state), bulk, batches, installations))
                oldest_due_seconds = max(oldest_due_seconds, age or 0.0)
            elif app_id is not None:
                by_app.append(AppDepth(app_id, batches, installations, age or 0.0))
            else:
                by_credential.append(HeldDepth(held_by, batches))
        return QueueState.of_depths(
            by_state, by_app, by_credential, oldest_due_seconds, (others[0], others[1], others[2])
        )

    async def read_app_queue(self, app_id: str, now: datetime, limit: int) -> AppQueue | None:
        """Return up to `limit` batches of an app and as many broadcasts, or None if there is no such app."""
        async with self._database.connection() as connection:
            if not await connection.fetchval(_SQL["app_exists"], app_id):
                return None
            batches = await connection.fetch(_SQL["list_batches_of_app"], app_id, now, limit)
            broadcasts = await connection.fetch(_SQL["list_broadcasts_of_app"], app_id, limit)
        return AppQueue(
            [WaitingBatch(**{**row, "state": BatchState(row["state"])}) for row in batches],
            [WaitingBroadcast(**row) for row in broadcasts],
        )
