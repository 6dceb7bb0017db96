"""The rules of enrolments, decided without a query.

- An installation is (app, device, alongside). Enrolled again it keeps its row; another UUID replaces the former one.
- A UUID belongs to one installation for ever. It follows the device to its next owner, and to nothing else.
- An installation whose bundle identifier, team or environment changed has other device tokens: the former are retired.
- A UDID belongs to one customer. Enrolled under another one, the installations of the former on it are retired, in all
  apps.
- `c_` and `d_` identifiers are minted with the first installation of a customer and of a device in an app, and never
  again.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from relay.core.errors import Fault
from relay.core.ids import AppId
from relay.store.operations.audit import AuditAction, AuditEntry

UUID_IS_TAKEN = Fault("conflict", "/installation_uuid", "Another copy has this installation UUID.")


class InstallationPlace(NamedTuple):
    """The key of an installation: at most one installation of an app has this place on a device."""

    app_id: str
    udid_digest: bytes
    alongside: str


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Enrolment:
    """A copy of an app as the store installed it, checked. `environment` is None if the store does not know it."""

    installation_uuid: UUID
    app_id: AppId
    customer: str
    udid_digest: bytes
    alongside: str
    bundle_id: str
    team_id: str
    environment: str | None
    app_version: str

    @property
    def place(self) -> InstallationPlace:
        """Return the place that the installation takes."""
        return InstallationPlace(self.app_id, self.udid_digest, self.alongside)


class Enrolled(NamedTuple):
    """An enrolled installation. `created`: it was not enrolled before, or had been retired."""

    app_id: str
    installation_uuid: UUID
    serial: int
    created: bool


class StoredInstallation(NamedTuple):
    """The row of an installation, as it is before an enrolment changes it."""

    app_id: str
    device_id: int
    alongside: str
    installation_id: int
    installation_uuid: UUID
    bundle_id: str
    team_id: str
    environment: str | None
    app_version: str
    serial: int
    retired_at: datetime | None


class UuidHolder(NamedTuple):
    """The installation that an installation UUID belongs to."""

    installation_uuid: UUID
    app_id: str
    installation_id: int
    alongside: str
    udid_digest: bytes


class EnrolmentRefused(Exception):
    """The error of enrolments of which none was stored.

    `faults` are pairs of the index of an enrolment and its fault. The code "conflict" is for contradictions to what is
    stored.
    """

    def __init__(self, faults: Sequence[tuple[int, Fault]]) -> None:
        super().__init__(f"{len(faults)} enrolments refused")
        self.faults = tuple(faults)


def raise_faults(faults: Iterable[tuple[int, Fault]]) -> None:
    """Raise EnrolmentRefused if there is any fault."""
    if listed := list(faults):
        raise EnrolmentRefused(listed)


def find_contradictions(enrolments: Sequence[Enrolment]) -> Iterable[tuple[int, Fault]]:
    """Yield the faults of enrolments of one call that contradict each other."""
    uuids: set[UUID] = set()
    places: set[InstallationPlace] = set()
    customers: dict[bytes, str] = {}
    for index, enrolment in enumerate(enrolments):
        if enrolment.installation_uuid in uuids:
            yield index, Fault("duplicate", "/installation_uuid", "This installation UUID occurs twice.")
        if enrolment.place in places:
            yield index, Fault("duplicate", "/alongside", "This copy (app, device, alongside) occurs twice.")
        if customers.setdefault(enrolment.udid_digest, enrolment.customer) != enrolment.customer:
            yield index, Fault("duplicate", "/udid", "This device occurs under two customers.")
        uuids.add(enrolment.installation_uuid)
        places.add(enrolment.place)


def is_uuid_taken(enrolment: Enrolment, stored: StoredInstallation | None, holder: UuidHolder | None) -> bool:
    """Return whether the UUID of `enrolment` belongs to another installation."""
    if holder is None:
        return False
    if stored is not None and stored.installation_id == holder.installation_id:
        return False
    return enrolment.place != (holder.app_id, holder.udid_digest, holder.alongside)


def changes_installation(enrolment: Enrolment, stored: StoredInstallation) -> bool:
    """Return whether the enrolment changes the row of its installation."""
    return (
        stored.retired_at is not None
        or stored.installation_uuid != enrolment.installation_uuid
        or stored.bundle_id != enrolment.bundle_id
        or stored.team_id != enrolment.team_id
        or stored.environment != enrolment.environment
        or stored.app_version != enrolment.app_version
    )


def changes_device_tokens(enrolment: Enrolment, stored: StoredInstallation) -> bool:
    """Return whether APNs knows the installation by other device tokens from now on.

    An environment that becomes known or unknown changes none.
    """
    return (
        stored.bundle_id != enrolment.bundle_id
        or stored.team_id != enrolment.team_id
        or (
            None not in (stored.environment, enrolment.environment)
            and stored.environment != enrolment.environment
        )
    )


def describe_enrolments(
    enrolled: Sequence[Enrolled], changed: Sequence[Enrolled], apps_of_retired: Sequence[str]
) -> list[AuditEntry]:
    """Return an audit entry for each app with changes, with the numbers of its installations.

    `changed` are those of `enrolled` whose row changed. `apps_of_retired` has the app of each retired installation.
    """
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for installation in enrolled:
        if installation.created:
            counts[installation.app_id]["created"] += 1
    for installation in changed:
        if not installation.created:
            counts[installation.app_id]["changed"] += 1
    for app_id in apps_of_retired:
        counts[app_id]["retired"] += 1
    return [
        AuditEntry(AuditAction.INSTALLATIONS_ENROLLED, app_id, detail=counts[app_id])
        for app_id in sorted(counts)
    ]
