"""The rules of enrolments, as tables."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from relay.store.installations.enrolment_rules import (
    Enrolled,
    EnrolmentRefused,
    StoredInstallation,
    UuidHolder,
    changes_device_tokens,
    changes_installation,
    describe_enrolments,
    find_contradictions,
    is_uuid_taken,
    raise_faults,
)
from tests.factories import make_enrolment

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ENROLMENT = replace(make_enrolment(device=1, app_id="chess"), environment="production", alongside="work")
OTHER = replace(make_enrolment(device=2, app_id="chess"), customer="another")
STORED = StoredInstallation(
    app_id=ENROLMENT.app_id,
    device_id=11,
    alongside=ENROLMENT.alongside,
    installation_id=7,
    installation_uuid=ENROLMENT.installation_uuid,
    bundle_id=ENROLMENT.bundle_id,
    team_id=ENROLMENT.team_id,
    environment=ENROLMENT.environment,
    app_version=ENROLMENT.app_version,
    serial=3,
    retired_at=None,
)
HOLDER = UuidHolder(
    ENROLMENT.installation_uuid, ENROLMENT.app_id, 7, ENROLMENT.alongside, ENROLMENT.udid_digest
)


@pytest.mark.parametrize(
    ("fields", "pointers"),
    [
        ({}, []),
        ({"installation_uuid": ENROLMENT.installation_uuid}, ["/installation_uuid"]),
        ({"udid_digest": ENROLMENT.udid_digest, "customer": ENROLMENT.customer}, []),
        ({"udid_digest": ENROLMENT.udid_digest}, ["/udid"]),
        (
            {
                "udid_digest": ENROLMENT.udid_digest,
                "customer": ENROLMENT.customer,
                "alongside": ENROLMENT.alongside,
            },
            ["/alongside"],
        ),
        (
            {
                "udid_digest": ENROLMENT.udid_digest,
                "customer": ENROLMENT.customer,
                "alongside": ENROLMENT.alongside,
                "app_id": "poker",
            },
            [],
        ),
    ],
)
def test_contradictions_between_two_enrolments(fields: dict[str, Any], pointers: list[str]) -> None:
    faults = list(find_contradictions([ENROLMENT, replace(OTHER, **fields)]))
    assert [(index, fault.pointer) for index, fault in faults] == [(1, pointer) for pointer in pointers]
    assert all(fault.code == "duplicate" for _, fault in faults)


def test_faults_refuse_all_enrolments() -> None:
    raise_faults([])
    faults = list(find_contradictions([ENROLMENT, ENROLMENT]))
    with pytest.raises(EnrolmentRefused, match="2 enrolments refused") as refused:
        raise_faults(faults)
    assert refused.value.faults == tuple(faults)


@pytest.mark.parametrize(
    ("stored", "holder", "taken"),
    [
        (None, None, False),
        (STORED, None, False),
        (STORED, HOLDER, False),
        (None, HOLDER, False),  # the row of the device's former owner
        (STORED, HOLDER._replace(installation_id=8), False),
        (STORED, HOLDER._replace(installation_id=8, app_id="poker"), True),
        (None, HOLDER._replace(alongside=""), True),
        (None, HOLDER._replace(udid_digest=OTHER.udid_digest), True),
    ],
)
def test_a_uuid_is_taken_by_another_installation(
    stored: StoredInstallation | None, holder: UuidHolder | None, taken: bool
) -> None:
    assert is_uuid_taken(ENROLMENT, stored, holder) is taken


@pytest.mark.parametrize(
    ("fields", "changes_row", "changes_tokens"),
    [
        ({}, False, False),
        ({"retired_at": NOW}, True, False),
        ({"installation_uuid": UUID(int=1)}, True, False),
        ({"app_version": "0.9"}, True, False),
        ({"bundle_id": "com.example.other"}, True, True),
        ({"team_id": "TEAM000009"}, True, True),
        ({"environment": "sandbox"}, True, True),
        ({"environment": None}, True, False),
    ],
)
def test_changes_of_an_installation(fields: dict[str, Any], changes_row: bool, changes_tokens: bool) -> None:
    stored = STORED._replace(**fields)
    assert changes_installation(ENROLMENT, stored) is changes_row
    assert changes_device_tokens(ENROLMENT, stored) is changes_tokens


def test_an_environment_that_becomes_unknown_keeps_the_device_tokens() -> None:
    assert not changes_device_tokens(replace(ENROLMENT, environment=None), STORED)


def test_the_audit_log_gets_an_entry_for_each_app_with_changes() -> None:
    created, changed, unchanged = (
        Enrolled(app_id, UUID(int=number), number, created=number == 1)
        for number, app_id in enumerate(("chess", "chess", "go"), start=1)
    )
    entries = describe_enrolments([created, changed, unchanged], [created, changed], ["poker", "poker"])
    assert [(entry.subject, dict(entry.detail)) for entry in entries] == [
        ("chess", {"created": 1, "changed": 1}),
        ("poker", {"retired": 2}),
    ]
