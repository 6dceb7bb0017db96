"""The statements of an enrolment, in one transaction: each reads or writes the rows of all its installations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg

from relay.core.errors import Fault
from relay.store import sql
from relay.store.database import Connection
from relay.store.installations.device_tokens import InstallationRetirement
from relay.store.installations.enrolment_rules import Enrolment, StoredInstallation, UuidHolder, raise_faults

_SQL = sql.load(__package__, "enrolments.sql")
_ATTEMPTS = 4


class DeviceOwner(NamedTuple):
    """The customer and the device of an enrolment, by the relay's own numbers."""

    customer_id: int
    device_id: int


class WrittenInstallation(NamedTuple):
    """The key and the serial of an installation whose row was inserted or updated."""

    app_id: str
    installation_uuid: UUID
    installation_id: int
    serial: int


class EnrolmentWriter:
    """The reads and writes of an enrolment in the transaction of `connection`, at the time `now`."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now

    async def refuse_unknown_apps(self, enrolments: Sequence[Enrolment]) -> None:
        """Raise EnrolmentRefused if the app of an enrolment does not exist."""
        rows = await self._connection.fetch(
            _SQL["unknown_apps"], list({enrolment.app_id for enrolment in enrolments})
        )
        unknown = {row["app_id"] for row in rows}
        raise_faults(
            (index, Fault("unknown_app", "/app_id", "There is no such app."))
            for index, enrolment in enumerate(enrolments)
            if enrolment.app_id in unknown
        )

    async def ensure_owners(self, enrolments: Sequence[Enrolment]) -> list[DeviceOwner]:
        """Return customer and device of each enrolment, and insert those that are new."""
        references = sorted({enrolment.customer for enrolment in enrolments})
        rows = await self._ensure("customers", len(references), references)
        customers = {row["external_ref"]: row["customer_id"] for row in rows}
        owned = sorted({(enrolment.udid_digest, customers[enrolment.customer]) for enrolment in enrolments})
        rows = await self._ensure(
            "devices", len(owned), [digest for digest, _ in owned], [customer for _, customer in owned]
        )
        devices = {row["udid_digest"]: row["device_id"] for row in rows}
        return [
            DeviceOwner(customers[enrolment.customer], devices[enrolment.udid_digest])
            for enrolment in enrolments
        ]

    async def take_over_devices(
        self, enrolments: Sequence[Enrolment], owners: Sequence[DeviceOwner]
    ) -> list[InstallationRetirement]:
        """Lock the UDIDs, and retire the installations of their former owners. Returns those installations."""
        claims = sorted(
            {
                (enrolment.udid_digest, owner.device_id)
                for enrolment, owner in zip(enrolments, owners, strict=True)
            }
        )
        changed = await self._connection.fetch(
            _SQL["owners"], [digest for digest, _ in claims], [device for _, device in claims]
        )
        if not changed:
            return []
        digests, devices = [row["udid_digest"] for row in changed], [row["device_id"] for row in changed]
        rows = await self._connection.fetch(_SQL["retire_former"], digests, devices, self._now)
        return [
            InstallationRetirement(row["app_id"], row["installation_id"], "customer_changed") for row in rows
        ]

    async def lock_installations(
        self, enrolments: Sequence[Enrolment], owners: Sequence[DeviceOwner]
    ) -> list[StoredInstallation | None]:
        """Lock and return the row of each installation, None for those without one."""
        rows = await self._connection.fetch(
            _SQL["existing"],
            [enrolment.app_id for enrolment in enrolments],
            [owner.device_id for owner in owners],
            [enrolment.alongside for enrolment in enrolments],
        )
        stored = {
            (row["app_id"], row["device_id"], row["alongside"]): StoredInstallation(**row) for row in rows
        }
        return [
            stored.get((enrolment.app_id, owner.device_id, enrolment.alongside))
            for enrolment, owner in zip(enrolments, owners, strict=True)
        ]

    async def find_uuid_holders(self, enrolments: Sequence[Enrolment]) -> dict[UUID, UuidHolder]:
        """Return the installations that the UUIDs of the enrolments belong to, by UUID."""
        rows = await self._connection.fetch(
            _SQL["uuids"], [enrolment.installation_uuid for enrolment in enrolments]
        )
        return {row["installation_uuid"]: UuidHolder(**row) for row in rows}

    async def ensure_identifiers(
        self, kind: str, minted: Mapping[tuple[str, int], str]
    ) -> dict[tuple[str, int], str]:
        """Store the `minted` identifiers of subjects that have none, and return those that are stored.

        `kind` is "c" or "d". The keys are (app_id, customer_id) or (app_id, device_id).
        """
        if not minted:
            return {}
        rows = await self._ensure(
            "identifiers",
            len(minted),
            kind,
            [app_id for app_id, _ in minted],
            [subject for _, subject in minted],
            list(minted.values()),
        )
        return {(row["app_id"], row["subject"]): row["value"] for row in rows}

    async def insert_device_apps(self, device_apps: Sequence[tuple[int, str]]) -> None:
        """Store in which apps devices have installations, as pairs of device_id and app_id."""
        if device_apps:
            await self._connection.execute(
                _SQL["device_apps"],
                [device_id for device_id, _ in device_apps],
                [app_id for _, app_id in device_apps],
            )

    async def insert_installations(
        self, new: Sequence[tuple[Enrolment, DeviceOwner]]
    ) -> dict[UUID, WrittenInstallation]:
        """Insert installations and return them by UUID."""
        if not new:
            return {}
        rows = await self._connection.fetch(
            _SQL["insert"],
            [enrolment.app_id for enrolment, _ in new],
            [enrolment.installation_uuid for enrolment, _ in new],
            [owner.customer_id for _, owner in new],
            [owner.device_id for _, owner in new],
            [enrolment.alongside for enrolment, _ in new],
            [enrolment.bundle_id for enrolment, _ in new],
            [enrolment.team_id for enrolment, _ in new],
            [enrolment.environment for enrolment, _ in new],
            [enrolment.app_version for enrolment, _ in new],
            self._now,
        )
        return {row["installation_uuid"]: WrittenInstallation(**row) for row in rows}

    async def update_installations(
        self, changed: Sequence[tuple[Enrolment, StoredInstallation]]
    ) -> dict[UUID, WrittenInstallation]:
        """Update the rows of installations and return them by UUID."""
        if not changed:
            return {}
        rows = await self._connection.fetch(
            _SQL["update"],
            [enrolment.app_id for enrolment, _ in changed],
            [stored.installation_id for _, stored in changed],
            [enrolment.installation_uuid for enrolment, _ in changed],
            [enrolment.bundle_id for enrolment, _ in changed],
            [enrolment.team_id for enrolment, _ in changed],
            [enrolment.environment for enrolment, _ in changed],
            [enrolment.app_version for enrolment, _ in changed],
            [stored.installation_uuid != enrolment.installation_uuid for enrolment, stored in changed],
            self._now,
        )
        return {row["installation_uuid"]: WrittenInstallation(**row) for row in rows}

    async def claim_uuids(
        self, written: Iterable[WrittenInstallation], holders: Mapping[UUID, UuidHolder]
    ) -> None:
        """Store which installation each UUID belongs to, where that has changed."""
        free: list[WrittenInstallation] = []
        moved: list[WrittenInstallation] = []
        for installation in written:
            holder = holders.get(installation.installation_uuid)
            if holder is None:
                free.append(installation)
            elif holder.installation_id != installation.installation_id:
                moved.append(installation)
        if free:
            await self._connection.execute(
                _SQL["claim_uuids"],
                [installation.installation_uuid for installation in free],
                [installation.app_id for installation in free],
                [installation.installation_id for installation in free],
            )
        if moved:
            await self._connection.execute(
                _SQL["move_uuids"],
                [installation.installation_uuid for installation in moved],
                [installation.installation_id for installation in moved],
            )

    async def _ensure(self, statement: str, count: int, *arguments: object) -> list[asyncpg.Record]:
        """Run a statement that inserts missing rows and returns all `count` rows.

        A row that another transaction commits meanwhile is in neither half of the statement: the next run finds it.

        Raises:
            UniqueViolationError: Rows are inserted and deleted at the same time.
        """
        for _ in range(_ATTEMPTS):
            rows = await self._connection.fetch(_SQL[statement], *arguments)
            if len(rows) == count:
                return rows
        raise asyncpg.UniqueViolationError("rows come and go")
