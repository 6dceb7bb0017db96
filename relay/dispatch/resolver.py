"""The resolver: from leased batches to a plan of what is sent with which credential.

One query finds the targets of all batches, one what dispatch must know of their apps, and one the credentials of the
teams that are not known. What the intake read already is not read again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from relay.core.accounts import Environment
from relay.core.delivery.plan import ClaimedBatch, Plan, TargetGroup, plan_sends
from relay.dispatch.credential_cache import CredentialCache
from relay.store.database import Database
from relay.store.push.batches import BatchRepository
from relay.store.push.records import DispatchContext


@dataclass(slots=True)
class LeasedBatches:
    """Batches under this node's lease. `groups` are their targets, by index, and `context` is about their apps; None
    where that was not read yet."""

    batches: list[ClaimedBatch]
    groups: list[list[TargetGroup]] | None = None
    context: DispatchContext | None = None

    def pick(self, index: int) -> LeasedBatches:
        """Return one of the batches alone."""
        groups = None if self.groups is None else [self.groups[index]]
        return LeasedBatches([self.batches[index]], groups, self.context)


class Resolver:
    """Plans batches."""

    def __init__(self, database: Database, credentials: CredentialCache) -> None:
        self._database = database
        self._batches = BatchRepository(database)
        self._credentials = credentials

    async def plan(self, leased: LeasedBatches) -> Plan:
        """Return what becomes of each installation of these batches. Notes which batches have a webhook.

        Raises:
            Unavailable: The database is away.
        """
        batches = leased.batches
        if not batches:
            return Plan()
        groups, context = leased.groups, leased.context
        if groups is None or context is None:
            async with self._database.connection() as connection:
                if groups is None:
                    groups = await self._batches.resolve_targets(connection, batches)
                if context is None:
                    app_ids = list({batch.app_id for batch in batches})
                    context = await self._batches.read_dispatch_context(connection, app_ids)
        if context.with_webhook:
            note_webhooks(batches, context.with_webhook)
        credentials = await self._credentials.look_up(
            (group.team_id, group.environment or Environment.PRODUCTION)
            for batch_groups in groups
            for group in batch_groups
        )
        return plan_sends(batches, groups, credentials.choose, context.listed)


def note_webhooks(batches: Sequence[ClaimedBatch], with_webhook: set[str]) -> None:
    """Note in batches whether their app is one of those with a webhook."""
    for batch in batches:
        batch.has_webhook = batch.app_id in with_webhook
