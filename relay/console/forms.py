"""Reading of forms: their fields as text, as typed structs, and their faults by field."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

import msgspec
from aiohttp import web

from relay.core.errors import (
    BodyTooLarge,
    Fault,
    Invalid,
    MalformedBody,
    RelayError,
    RequestTimeout,
    UnsupportedMediaType,
)
from relay.core.schema import convert
from relay.http.requests import BODY_TIMEOUT

T = TypeVar("T", bound=msgspec.Struct)

CSRF_FIELD = "csrf"
"""The hidden field that guards a form; see `csrf.py`."""
EMPTY_FORM: Mapping[str, str] = {}
_FORM_TYPE = "application/x-www-form-urlencoded"


async def read_form(request: web.Request) -> dict[str, str]:
    """Return the fields of a form as text.

    Of a field that occurs twice the last value counts. Fields without a name are dropped.

    Raises: UnsupportedMediaType, BodyTooLarge, MalformedBody or RequestTimeout.
    """
    if request.content_type != _FORM_TYPE:
        raise UnsupportedMediaType("A form is expected.")
    try:
        async with asyncio.timeout(request.config_dict.get(BODY_TIMEOUT)):
            fields = await request.post()
    except TimeoutError:
        raise RequestTimeout("The form did not arrive in time.") from None
    except web.HTTPRequestEntityTooLarge:
        raise BodyTooLarge(f"The form is larger than {request.client_max_size} bytes.") from None
    except (web.RequestPayloadError, ConnectionError, ValueError, LookupError):
        raise MalformedBody("The form cannot be read.") from None
    return {name: value for name, value in fields.items() if isinstance(value, str)}


def convert_form(fields: Mapping[str, str], to: type[T]) -> T:
    """Return the fields of a form as a struct of the type `to`.

    The value of a checked checkbox is "on". Empty fields are left out. Fields that the struct does not have are
    refused, as in the API; the field `csrf` is ignored.

    Raises: Invalid, naming the field.
    """
    types = {field.encode_name: field.type for field in msgspec.structs.fields(to)}
    values: dict[str, Any] = {}
    for name, text in fields.items():
        if name == CSRF_FIELD or text == "":
            continue
        values[name] = text == "on" if types.get(name) is bool else text
    return convert(values, to)


def faults_by_field(error: RelayError) -> dict[str, str]:
    """Return the details of an error's faults by field name. The key "" stands for the form as a whole."""
    details: dict[str, str] = {}
    for fault in error.faults:
        name = fault.pointer.lstrip("/").split("/")[0]
        details[name] = f"{details[name]} {fault.detail}" if name in details else fault.detail
    return details


def refuse_field(name: str, detail: str) -> NoReturn:
    """Refuse a form because of its field `name`; "" stands for the form as a whole.

    Raises: Invalid, always.
    """
    raise Invalid(faults=[Fault("invalid_value", f"/{name}" if name else "", detail)])


def refused_form_context(error: RelayError, form: Mapping[str, str]) -> dict[str, Any]:
    """Return what a template needs to show a refused form again: its `faults` by field, and the typed `form`."""
    return {"faults": faults_by_field(error), "form": dict(form)}
