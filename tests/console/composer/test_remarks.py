"""Errors and warnings stand at the form field that they are about."""

from __future__ import annotations

import pytest

from relay.console.composer.remarks import Remark, remarks_by_field, remarks_from_faults
from relay.core.errors import Fault


@pytest.mark.parametrize(
    ("pointer", "field", "begins"),
    [
        ("/notification/title", "title", "detail"),
        ("/notification/open/primary_key", "primary_key", "detail"),
        ("/notification/user_info/a~1b", "data", "a/b: "),
        ("/notification/loc_key", "", "detail"),
        ("/payload/aps/badge", "payload", "aps/badge: "),
        ("/payload", "payload", "detail"),
        ("/destinations/anna@example.com", "recipients", "anna@example.com: "),
        ("/destinations/c_x/0", "recipients", "c_x (device): "),
        ("/destinations", "recipients", "detail"),
        ("/ttl", "ttl", "detail"),
        ("/app_id", "", "detail"),
        ("", "", "detail"),
    ],
)
def test_a_fault_stands_at_its_field(pointer: str, field: str, begins: str) -> None:
    [remark] = remarks_from_faults([Fault("code", pointer, "detail")], is_error=True)
    assert remark.field == field
    assert remark.text.startswith(begins)


def test_a_payload_that_is_too_large_is_reported_at_its_size() -> None:
    [remark] = remarks_from_faults([Fault("payload_too_large", "/notification", "Too large.")], is_error=True)
    assert remark.field == "size"


def test_half_of_a_surrogate_pair_can_be_shown() -> None:
    [remark] = remarks_from_faults([Fault("unknown_key", "/payload/aps/\ud800", "detail")], is_error=False)
    remark.text.encode()


def test_errors_come_first_and_the_rest_is_counted() -> None:
    warnings = [Remark("recipients", f"warning {number}", is_error=False) for number in range(20)]
    remarks = remarks_by_field([*warnings, Remark("recipients", "an error")])["recipients"]
    assert remarks[0].text == "an error"
    assert remarks[-1].text == "And 16 more."
