"""Enrolling copies of apps on devices: many in one transaction, with a fixed number of statements.

The rules:
- A copy is (app, device, alongside). Enrolled again it keeps its row; another uuid replaces the former one.
- A uuid belongs to one copy for ever. It follows the device to its next owner, and to nothing else.
- A copy whose bundle identifier, team or environment changed has other device tokens: the former are retired.
- A UDID belongs to one customer. Enrolled under another, the former's copies on it are retired, in all apps.
- c_ and d_ are minted with the first copy of a customer and of a device in an app, and never again.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from relay.core.clock import Random
from relay.core.errors import Fault, Unavailable
from relay.core.identifiers import RANDOM_BYTES, Identifiers
from relay.store import sql
from relay.store.database import Connection, Database, TransactionConflict
from relay.store.operations import audit
from relay.store.operations.audit import Actor, AuditAction, AuditEntry

MOST = 1000
"""Copies one call may enrol."""
_ATTEMPTS = 4
_SQL = sql.load(__package__, "enrolments.sql")
_COLLISIONS = (asyncpg.UniqueViolationError, TransactionConflict)
"""What running at the same time as another enrolment can end in; run again, it sees what the other did."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Enrolment:
    """A copy of an app as the store installed it, checked. `environment` None: the store does not know it."""

    installation_uuid: UUID
    app_id: str
    customer: str
    udid_digest: bytes
    alongside: str
    bundle_id: str
    team_id: str
    environment: str | None
    app_version: str

    @property
    def copy(self) -> tuple[str, bytes, str]:
        """What makes it the same copy."""
        return self.app_id, self.udid_digest, self.alongside


class Enrolled(NamedTuple):
    """A copy that is enrolled now. `created`: it was not before, or had been retired."""

    app_id: str
    installation_uuid: UUID
    serial: int
    created: bool


class EnrolmentRefused(Exception):
    """Nothing was enrolled. `faults` are (index, what is wrong there).

    The code "conflict" is for what contradicts what is stored.
    """

    def __init__(self, faults: Sequence[tuple[int, Fault]]) -> None:
        super().__init__(f"{len(faults)} enrolments refused")
        self.faults = tuple(faults)


class _Place(NamedTuple):
    """Where an enrolment belongs, by our own numbers."""

    customer_id: int
    device_id: int


class Enrolments:
    """Enrols copies."""

    def __init__(self, database: Database, identifiers: Identifiers, random: Random) -> None:
        self._database = database
        self._identifiers = identifiers
        self._random = random

    async def enrol(self, enrolments: Sequence[Enrolment], now: datetime, actor: Actor) -> list[Enrolled]:
        """Enrol all of them (at most `MOST`), or none. Raises EnrolmentRefused."""
        refuse(_contradictions(enrolments))
        for _ in range(_ATTEMPTS):
            try:
                async with self._database.transaction() as connection:
                    return await self._enrol(connection, enrolments, now, actor)
            except _COLLISIONS:
                continue
        raise Unavailable("Too many changes to the same devices at the same time.")

    async def _enrol(
        self, connection: Connection, enrolments: Sequence[Enrolment], now: datetime, actor: Actor
    ) -> list[Enrolled]:
        await _refuse_unknown_apps(connection, enrolments)
        places = await _places(connection, enrolments)
        retired = await _take_over_devices(connection, enrolments, places, now)

        existing = await _existing(connection, enrolments, places)
        uuids = {
            row["installation_uuid"]: row
            for row in await connection.fetch(_SQL["uuids"], [e.installation_uuid for e in enrolments])
        }
        refuse(
            (index, _TAKEN)
            for index, (enrolment, row) in enumerate(zip(enrolments, existing, strict=True))
            if _is_taken(enrolment, row, uuids.get(enrolment.installation_uuid))
        )

        new = [i for i, row in enumerate(existing) if row is None]
        changed = [i for i, row in enumerate(existing) if row is not None and _differs(enrolments[i], row)]
        await self._mint(connection, [(enrolments[i].app_id, places[i]) for i in new])
        written = await _insert(connection, [(enrolments[i], places[i]) for i in new], now)
        written |= await _update(connection, [(enrolments[i], existing[i]) for i in changed], now)
        await _claim_uuids(connection, written.values(), uuids)

        tokens = [(row["app_id"], row["installation_id"], "customer_changed") for row in retired]
        tokens += [
            (row["app_id"], row["installation_id"], "moved")
            for enrolment, row in zip(enrolments, existing, strict=True)
            if row is not None and _moved(enrolment, row)
        ]
        await retire_tokens(connection, tokens, now)
        enrolled = [
            Enrolled(
                enrolment.app_id,
                enrolment.installation_uuid,
                (written.get(enrolment.installation_uuid) or row)["serial"],
                created=row is None or row["retired_at"] is not None,
            )
            for enrolment, row in zip(enrolments, existing, strict=True)
        ]
        former = [row["app_id"] for row in retired]
        await audit.write_entries(
            connection, actor, now, *_entries(enrolled, [enrolled[i] for i in changed], former)
        )
        return enrolled

    async def _mint(self, connection: Connection, new: Sequence[tuple[str, _Place]]) -> None:
        """Mint what customers and devices of new copies lack. That of a device needs its customer's."""
        customers = sorted({(app_id, place.customer_id) for app_id, place in new})
        minted = {
            key: self._identifiers.mint_customer(key[0], self._random(RANDOM_BYTES)) for key in customers
        }
        known = await _identifiers(connection, "c", minted)
        devices = sorted({(app_id, place.device_id, place.customer_id) for app_id, place in new})
        await _identifiers(
            connection,
            "d",
            {
                (app_id, device_id): self._identifiers.mint_device(
                    app_id, known[app_id, customer_id], self._random(RANDOM_BYTES)
                )
                for app_id, device_id, customer_id in devices
            },
        )
        if devices:
            await connection.execute(
                _SQL["device_apps"], [device for _, device, _ in devices], [app for app, _, _ in devices]
            )


def _entries(
    enrolled: Sequence[Enrolled], changed: Sequence[Enrolled], retired: Sequence[str]
) -> list[AuditEntry]:
    """An entry for each app that anything changed in, with the numbers of its copies. `retired` are app_ids."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for one in enrolled:
        if one.created:
            counts[one.app_id]["created"] += 1
    for one in changed:
        if not one.created:
            counts[one.app_id]["changed"] += 1
    for app_id in retired:
        counts[app_id]["retired"] += 1
    return [
        AuditEntry(AuditAction.INSTALLATIONS_ENROLLED, app_id, detail=counts[app_id])
        for app_id in sorted(counts)
    ]


_TAKEN = Fault("conflict", "/installation_uuid", "Another copy has this installation UUID.")


def refuse(faults: Iterable[tuple[int, Fault]]) -> None:
    """Raise EnrolmentRefused if there is any fault."""
    if found := list(faults):
        raise EnrolmentRefused(found)


def _contradictions(enrolments: Sequence[Enrolment]) -> Iterable[tuple[int, Fault]]:
    """What enrolments of one call say against one another."""
    uuids: set[UUID] = set()
    copies: set[tuple[str, bytes, str]] = set()
    customers: dict[bytes, str] = {}
    for index, enrolment in enumerate(enrolments):
        if enrolment.installation_uuid in uuids:
            yield index, Fault("duplicate", "/installation_uuid", "This installation UUID occurs twice.")
        if enrolment.copy in copies:
            yield index, Fault("duplicate", "/alongside", "This copy (app, device, alongside) occurs twice.")
        if customers.setdefault(enrolment.udid_digest, enrolment.customer) != enrolment.customer:
            yield index, Fault("duplicate", "/udid", "This device occurs under two customers.")
        uuids.add(enrolment.installation_uuid)
        copies.add(enrolment.copy)


def _is_taken(enrolment: Enrolment, existing: Any, holder: Any) -> bool:
    """Whether the uuid belongs to another copy than the one it is given for."""
    if holder is None:
        return False
    if existing is not None and existing["installation_id"] == holder["installation_id"]:
        return False
    held_by = holder["app_id"], holder["udid_digest"], holder["alongside"]
    return bool(held_by != enrolment.copy)


def _differs(enrolment: Enrolment, row: Any) -> bool:
    return row["retired_at"] is not None or any(
        row[name] != getattr(enrolment, name)
        for name in ("installation_uuid", "bundle_id", "team_id", "environment", "app_version")
    )


def _moved(enrolment: Enrolment, row: Any) -> bool:
    """Whether APNs knows the copy by other device tokens now.

    To learn or to forget the environment changes nothing.
    """
    return (
        row["bundle_id"] != enrolment.bundle_id
        or row["team_id"] != enrolment.team_id
        or (
            None not in (row["environment"], enrolment.environment)
            and row["environment"] != enrolment.environment
        )
    )


async def _refuse_unknown_apps(connection: Connection, enrolments: Sequence[Enrolment]) -> None:
    rows = await connection.fetch(_SQL["unknown_apps"], list({e.app_id for e in enrolments}))
    unknown = {row["app_id"] for row in rows}
    refuse(
        (index, Fault("unknown_app", "/app_id", "There is no such app."))
        for index, enrolment in enumerate(enrolments)
        if enrolment.app_id in unknown
    )


async def _places(connection: Connection, enrolments: Sequence[Enrolment]) -> list[_Place]:
    """The customer and the device of each, made where they are new."""
    references = sorted({e.customer for e in enrolments})
    rows = await _ensure(connection, _SQL["customers"], len(references), references)
    customers = {row["external_ref"]: row["customer_id"] for row in rows}
    owned = sorted({(e.udid_digest, customers[e.customer]) for e in enrolments})
    rows = await _ensure(
        connection,
        _SQL["devices"],
        len(owned),
        [digest for digest, _ in owned],
        [owner for _, owner in owned],
    )
    devices = {row["udid_digest"]: row["device_id"] for row in rows}
    return [_Place(customers[e.customer], devices[e.udid_digest]) for e in enrolments]


async def _ensure(connection: Connection, sql: str, count: int, *arguments: Any) -> list[Any]:
    """Run a statement that inserts what is missing and returns all. Raises UniqueViolationError if it cannot.

    A row that another transaction committed while the statement ran is in neither of its halves: the next run
    finds it.
    """
    for _ in range(_ATTEMPTS):
        rows = await connection.fetch(sql, *arguments)
        if len(rows) == count:
            return rows
    raise asyncpg.UniqueViolationError("rows come and go")


async def _take_over_devices(
    connection: Connection, enrolments: Sequence[Enrolment], places: Sequence[_Place], now: datetime
) -> list[Any]:
    """Lock the UDIDs, and retire the copies of their former owners. Returns those copies."""
    owners = sorted({(e.udid_digest, place.device_id) for e, place in zip(enrolments, places, strict=True)})
    changed = await connection.fetch(
        _SQL["owners"], [digest for digest, _ in owners], [device for _, device in owners]
    )
    if not changed:
        return []
    digests, devices = [row["udid_digest"] for row in changed], [row["device_id"] for row in changed]
    return await connection.fetch(_SQL["retire_former"], digests, devices, now)


async def _existing(
    connection: Connection, enrolments: Sequence[Enrolment], places: Sequence[_Place]
) -> list[Any]:
    """The row of each copy, or None."""
    rows = await connection.fetch(
        _SQL["existing"],
        [e.app_id for e in enrolments],
        [place.device_id for place in places],
        [e.alongside for e in enrolments],
    )
    by_copy = {(row["app_id"], row["device_id"], row["alongside"]): row for row in rows}
    return [
        by_copy.get((e.app_id, place.device_id, e.alongside))
        for e, place in zip(enrolments, places, strict=True)
    ]


async def _identifiers(
    connection: Connection, kind: str, minted: Mapping[tuple[str, int], str]
) -> dict[tuple[str, int], str]:
    """The stored identifiers of those subjects: the minted one where there was none."""
    if not minted:
        return {}
    rows = await _ensure(
        connection,
        _SQL["identifiers"],
        len(minted),
        kind,
        [app_id for app_id, _ in minted],
        [subject for _, subject in minted],
        list(minted.values()),
    )
    return {(row["app_id"], row["subject"]): row["value"] for row in rows}


async def _insert(
    connection: Connection, new: Sequence[tuple[Enrolment, _Place]], now: datetime
) -> dict[UUID, Any]:
    if not new:
        return {}
    rows = await connection.fetch(
        _SQL["insert"],
        [e.app_id for e, _ in new],
        [e.installation_uuid for e, _ in new],
        [place.customer_id for _, place in new],
        [place.device_id for _, place in new],
        [e.alongside for e, _ in new],
        [e.bundle_id for e, _ in new],
        [e.team_id for e, _ in new],
        [e.environment for e, _ in new],
        [e.app_version for e, _ in new],
        now,
    )
    return {row["installation_uuid"]: row for row in rows}


async def _update(
    connection: Connection, changed: Sequence[tuple[Enrolment, Any]], now: datetime
) -> dict[UUID, Any]:
    if not changed:
        return {}
    rows = await connection.fetch(
        _SQL["update"],
        [e.app_id for e, _ in changed],
        [row["installation_id"] for _, row in changed],
        [e.installation_uuid for e, _ in changed],
        [e.bundle_id for e, _ in changed],
        [e.team_id for e, _ in changed],
        [e.environment for e, _ in changed],
        [e.app_version for e, _ in changed],
        [row["installation_uuid"] != e.installation_uuid for e, row in changed],
        now,
    )
    return {row["installation_uuid"]: row for row in rows}


async def _claim_uuids(connection: Connection, written: Iterable[Any], held: Mapping[UUID, Any]) -> None:
    """Note which copy each uuid belongs to, where that is not noted yet."""
    free = [row for row in written if row["installation_uuid"] not in held]
    moved = [
        row
        for row in written
        if row["installation_uuid"] in held
        and held[row["installation_uuid"]]["installation_id"] != row["installation_id"]
    ]
    if free:
        await connection.execute(
            _SQL["claim_uuids"],
            [row["installation_uuid"] for row in free],
            [row["app_id"] for row in free],
            [row["installation_id"] for row in free],
        )
    if moved:
        await connection.execute(
            _SQL["move_uuids"],
            [row["installation_uuid"] for row in moved],
            [row["installation_id"] for row in moved],
        )


async def retire_tokens(
    connection: Connection, copies: Sequence[tuple[str, int, str]], now: datetime
) -> None:
    """Retire all device tokens of copies given as (app_id, installation_id, reason)."""
    if copies:
        await connection.execute(
            _SQL["retire_tokens"],
            [app_id for app_id, _, _ in copies],
            [installation_id for _, installation_id, _ in copies],
            [reason for _, _, reason in copies],
            now,
        )
