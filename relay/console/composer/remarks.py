"""Errors and warnings, each at the form field that it is about."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from relay.console.composer.fields import ALL_FIELDS, NOTIFICATION_FIELDS
from relay.core.errors import Fault

_MAX_REMARKS_PER_FIELD = 5
_FIELD_BY_POINTER = {
    "/notification/open": "data_class",
    "/notification/open/data_class": "data_class",
    "/notification/open/primary_key": "primary_key",
}


class Remark(NamedTuple):
    """An error or warning at a field of the form; the field "" is the form as a whole.

    `is_error`: the push cannot be sent before it is fixed.
    """

    field: str
    text: str
    is_error: bool = True


def remarks_from_faults(faults: Sequence[Fault], *, is_error: bool) -> list[Remark]:
    """Return the faults that a check of the push reported as remarks at form fields."""
    return [_remark_from_fault(fault, is_error) for fault in faults]


def _remark_from_fault(fault: Fault, is_error: bool) -> Remark:
    if fault.code == "payload_too_large":
        return Remark("size", fault.detail, is_error)
    if fault.pointer in _FIELD_BY_POINTER:
        return Remark(_FIELD_BY_POINTER[fault.pointer], fault.detail, is_error)
    pointer = fault.pointer.encode("utf-8", "replace").decode()  # a key may hold half of a surrogate pair
    _, top, *rest = [*pointer.split("/"), ""]
    name = _unescape(rest[0]) if rest else ""
    if top == "destinations":
        device = " (device)" if len(rest) > 2 else ""
        return Remark("recipients", f"{name}{device}: {fault.detail}" if name else fault.detail, is_error)
    if top == "payload":
        inner = "/".join(rest[:-1])
        return Remark("payload", f"{inner}: {fault.detail}" if inner else fault.detail, is_error)
    if top == "notification":
        if name == "user_info":
            key = _unescape(rest[1]) if len(rest) > 2 else ""
            return Remark("data", f"{key}: {fault.detail}" if key else fault.detail, is_error)
        return Remark(name if name in NOTIFICATION_FIELDS else "", fault.detail, is_error)
    return Remark(top if top in ALL_FIELDS else "", fault.detail, is_error)


def _unescape(token: str) -> str:
    """Return the key that a token of a JSON pointer stands for (RFC 6901 section 4)."""
    return token.replace("~1", "/").replace("~0", "~")


def remarks_by_field(remarks: Iterable[Remark]) -> dict[str, list[Remark]]:
    """Return the remarks of each field, errors first. A last remark counts those that are left out."""
    by_field: dict[str, list[Remark]] = {}
    for remark in sorted(remarks, key=lambda remark: not remark.is_error):
        by_field.setdefault(remark.field, []).append(remark)
    for name, field_remarks in by_field.items():
        hidden = field_remarks[_MAX_REMARKS_PER_FIELD:]
        if hidden:
            count = Remark(name, f"And {len(hidden)} more.", hidden[0].is_error)
            by_field[name] = [*field_remarks[:_MAX_REMARKS_PER_FIELD], count]
    return by_field
