"""Enrolments of installations: many in one transaction, with a fixed number of statements."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from relay.core.clock import Random
from relay.core.errors import Unavailable
from relay.core.identifiers import RANDOM_BYTES, Identifiers
from relay.core.ids import AppId
from relay.store.database import Connection, Database, TransactionConflict
from relay.store.installations.device_tokens import InstallationRetirement, retire_all_tokens
from relay.store.installations.enrolment_rules import (
    UUID_IS_TAKEN,
    Enrolled,
    Enrolment,
    changes_device_tokens,
    changes_installation,
    describe_enrolments,
    find_contradictions,
    is_uuid_taken,
    raise_faults,
)
from relay.store.installations.enrolment_writer import DeviceOwner, EnrolmentWriter
from relay.store.operations import audit
from relay.store.operations.audit import Actor

MAX_ENROLMENTS = 1000
"""Installations that one call may enrol."""
_ATTEMPTS = 4
_CONCURRENCY_ERRORS = (asyncpg.UniqueViolationError, TransactionConflict)
"""Errors from a concurrent enrolment. The next attempt sees what the other one stored."""


class EnrolmentRepository:
    """The way of installations into the database."""

    def __init__(self, database: Database, identifiers: Identifiers, random: Random) -> None:
        self._database = database
        self._identifiers = identifiers
        self._random = random

    async def enrol_installations(
        self, enrolments: Sequence[Enrolment], now: datetime, actor: Actor
    ) -> list[Enrolled]:
        """Store all `enrolments` (`MAX_ENROLMENTS` at most), or none, and return the installations in their order.

        Raises:
            EnrolmentRefused: Some contradict each other or what is stored.
            Unavailable: The database is away, or too many enrolments concern these devices at once.
        """
        raise_faults(find_contradictions(enrolments))
        for _ in range(_ATTEMPTS):
            try:
                async with self._database.transaction() as connection:
                    return await self._enrol(connection, enrolments, now, actor)
            except _CONCURRENCY_ERRORS:
                continue
        raise Unavailable("Too many changes to the same devices at the same time.")

    async def _enrol(
        self, connection: Connection, enrolments: Sequence[Enrolment], now: datetime, actor: Actor
    ) -> list[Enrolled]:
        writer = EnrolmentWriter(connection, now)
        await writer.refuse_unknown_apps(enrolments)
        owners = await writer.ensure_owners(enrolments)
        retired = await writer.take_over_devices(enrolments, owners)

        stored = await writer.lock_installations(enrolments, owners)
        holders = await writer.find_uuid_holders(enrolments)
        raise_faults(
            (index, UUID_IS_TAKEN)
            for index, (enrolment, row) in enumerate(zip(enrolments, stored, strict=True))
            if is_uuid_taken(enrolment, row, holders.get(enrolment.installation_uuid))
        )

        new = [
            (enrolment, owner)
            for enrolment, owner, row in zip(enrolments, owners, stored, strict=True)
            if row is None
        ]
        changed = [
            (enrolment, row)
            for enrolment, row in zip(enrolments, stored, strict=True)
            if row is not None and changes_installation(enrolment, row)
        ]
        await self._mint_identifiers(writer, [(enrolment.app_id, owner) for enrolment, owner in new])
        written = await writer.insert_installations(new)
        written |= await writer.update_installations(changed)
        await writer.claim_uuids(written.values(), holders)

        moved = [
            InstallationRetirement(row.app_id, row.installation_id, "moved")
            for enrolment, row in zip(enrolments, stored, strict=True)
            if row is not None and changes_device_tokens(enrolment, row)
        ]
        await retire_all_tokens(connection, [*retired, *moved], now)

        enrolled: list[Enrolled] = []
        for enrolment, row in zip(enrolments, stored, strict=True):
            current = written.get(enrolment.installation_uuid) or row
            assert current is not None  # an installation without a row was inserted
            created = row is None or row.retired_at is not None
            enrolled.append(
                Enrolled(enrolment.app_id, enrolment.installation_uuid, current.serial, created=created)
            )
        changed_uuids: set[UUID] = {enrolment.installation_uuid for enrolment, _ in changed}
        entries = describe_enrolments(
            enrolled,
            [installation for installation in enrolled if installation.installation_uuid in changed_uuids],
            [installation.app_id for installation in retired],
        )
        await audit.write_entries(connection, actor, now, *entries)
        return enrolled

    async def _mint_identifiers(
        self, writer: EnrolmentWriter, new: Sequence[tuple[AppId, DeviceOwner]]
    ) -> None:
        """Mint and store the identifiers that customers and devices lack in an app.

        A device's identifier is derived from that of its customer, which is therefore stored first.
        """
        customers = sorted({(app_id, owner.customer_id) for app_id, owner in new})
        customer_identifiers = await writer.ensure_identifiers(
            "c",
            {
                (app_id, customer_id): self._identifiers.mint_customer(app_id, self._random(RANDOM_BYTES))
                for app_id, customer_id in customers
            },
        )
        devices = sorted({(app_id, owner.device_id, owner.customer_id) for app_id, owner in new})
        await writer.ensure_identifiers(
            "d",
            {
                (app_id, device_id): self._identifiers.mint_device(
                    app_id, customer_identifiers[app_id, customer_id], self._random(RANDOM_BYTES)
                )
                for app_id, device_id, customer_id in devices
            },
        )
        await writer.insert_device_apps([(device_id, app_id) for app_id, device_id, _ in devices])
