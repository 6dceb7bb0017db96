"""Forms as typed structs, and faults by field."""

from __future__ import annotations

import msgspec
import pytest

from relay.console.forms import convert_form, faults_by_field, refuse_field
from relay.core.errors import Fault, Invalid


class Form(msgspec.Struct, forbid_unknown_fields=True):
    name: str = "unnamed"
    is_listed: bool = False


@pytest.mark.parametrize(
    ("fields", "form"),
    [
        ({"name": "Ada", "is_listed": "on"}, Form("Ada", True)),
        ({"name": "on", "is_listed": ""}, Form("on", False)),
        ({"name": "", "csrf": "x"}, Form("unnamed", False)),
        ({"is_listed": "yes"}, Form("unnamed", False)),
    ],
    ids=["all fields", "a text that looks like a checkbox", "empty fields", "a checkbox of another value"],
)
def test_fields_become_a_struct(fields: dict[str, str], form: Form) -> None:
    assert convert_form(fields, Form) == form


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(Invalid):
        convert_form({"surname": "Lovelace"}, Form)


def test_faults_of_one_field_are_joined() -> None:
    faults = [
        Fault("code", "/name", "First."),
        Fault("code", "/name/0", "Second."),
        Fault("code", "", "The form."),
    ]
    assert faults_by_field(Invalid(faults=faults)) == {"name": "First. Second.", "": "The form."}


@pytest.mark.parametrize("name", ["name", ""])
def test_a_refused_field_is_named(name: str) -> None:
    with pytest.raises(Invalid) as refusal:
        refuse_field(name, "Wrong.")
    assert faults_by_field(refusal.value) == {name: "Wrong."}
