"""Field patterns that requests share, and the conversion of JSON values into structs.

Every pattern ends in \\Z ("$" would let a line feed pass), and none matches NUL, which PostgreSQL cannot store.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, TypeVar
from uuid import UUID

import msgspec
from msgspec import Meta

from relay.core import email_aliases, udid
from relay.core.errors import Fault, Invalid, MalformedRequest, NotFound
from relay.core.ids import AppId
from relay.core.strict_json import escape_pointer_token

T = TypeVar("T")

_LINE: Final = r"^[^\x00-\x1f\x7f\ud800-\udfff]+\Z"
_LABEL: Final = r"^[^\x00-\x1f\x7f\ud800-\udfff]*\Z"
_APP_ID: Final = r"^[A-Za-z0-9]{1,64}\Z"
_TEN: Final = r"^[A-Z0-9]{10}\Z"
_BUNDLE_ID: Final = r"^[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\Z"
_ALONGSIDE: Final = r"^[A-Za-z0-9]{0,5}\Z"
_UUID: Final = r"^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}\Z"
_HEX_BYTES: Final = r"^(?:[0-9A-Fa-f]{2}){8,100}\Z"
_KIND: Final = (
    r"^(?:apns|voip|complication|fileprovider|mdm|location|pushtotalk|widgets|controls"
    r"|liveactivity|liveactivity-start|liveactivity:[A-Za-z0-9._-]{1,64})\Z"
)
_URL: Final = r"^https?://[!#-;=?-\[\]_a-z~]+\Z"
_PEM: Final = r"^[\x09\x0a\x0d\x20-\x7e]+\Z"

WORDS: Final = {
    _LINE: "one line of text without control characters",
    _LABEL: "one line of text without control characters",
    _APP_ID: "1 to 64 letters and digits",
    _TEN: "10 capital letters and digits",
    _BUNDLE_ID: "letters, digits and hyphens in parts joined by periods",
    _ALONGSIDE: "an empty string, or 1 to 5 letters and digits",
    _UUID: "a UUID in its form with hyphens",
    _HEX_BYTES: "8 to 100 bytes in hexadecimal digits",
    _KIND: (
        "apns, voip, complication, fileprovider, mdm, location, pushtotalk, widgets, controls, liveactivity, "
        "liveactivity-start, or liveactivity: with the activity"
    ),
    _URL: "a URL that begins with https://, in ASCII",
    _PEM: "PEM text",
    email_aliases.ADDRESS_PATTERN: "an e-mail address",
    udid.UDID_PATTERN: "a UDID: 40 or 24 hexadecimal digits, or a simulator's UUID",
}
"""The description of each pattern for callers."""

Name = Annotated[str, Meta(pattern=_LINE, max_length=200)]
Label = Annotated[str, Meta(pattern=_LABEL, max_length=200)]
AppIdText = Annotated[str, Meta(pattern=_APP_ID)]
TeamId = Annotated[str, Meta(pattern=_TEN)]
KeyId = Annotated[str, Meta(pattern=_TEN)]
BundleId = Annotated[str, Meta(pattern=_BUNDLE_ID, max_length=155)]
CustomerReference = Annotated[str, Meta(pattern=_LINE, max_length=200)]
Alongside = Annotated[str, Meta(pattern=_ALONGSIDE)]
Address = Annotated[
    str, Meta(pattern=email_aliases.ADDRESS_PATTERN, max_length=email_aliases.MAX_ADDRESS_LENGTH)
]
Udid = Annotated[str, Meta(pattern=udid.UDID_PATTERN)]
UuidText = Annotated[str, Meta(pattern=_UUID)]
AppVersion = Annotated[str, Meta(pattern=_LABEL, max_length=100)]
DeviceToken = Annotated[str, Meta(pattern=_HEX_BYTES)]
DeviceTokenKind = Annotated[str, Meta(pattern=_KIND)]
WebhookUrl = Annotated[str, Meta(pattern=_URL, max_length=2000)]
Pem = Annotated[str, Meta(pattern=_PEM, max_length=65_536)]


_PATH_IN_MESSAGE = re.compile(r" - at `(key in )?\$(.*)`$")
_DESCRIPTIONS = {f"Expected `str` matching regex {pattern!r}": words for pattern, words in WORDS.items()}
"""The message of msgspec for a field that does not match its pattern -> the description for callers."""


def uuid_in_path(text: str) -> UUID:
    """Parse a UUID of a path. Raises NotFound for anything else."""
    if re.match(_UUID, text, re.ASCII) is None:
        raise NotFound()
    return UUID(text)


def number_in_path(text: str) -> int:
    """Parse a positive number of a path that fits 63 bits. Raises NotFound for anything else."""
    if re.match(r"^[1-9][0-9]{0,17}\Z", text, re.ASCII) is None:
        raise NotFound()
    return int(text)


def app_id_in_path(text: str) -> AppId:
    """Return an app id of a path. Raises NotFound for a text of another form."""
    if re.match(_APP_ID, text, re.ASCII) is None:
        raise NotFound()
    return AppId(text)


def token_kind_in_query(text: str) -> str:
    """Return a kind of device token of a query. Raises MalformedRequest for anything else."""
    if re.match(_KIND, text, re.ASCII) is None:
        raise MalformedRequest(f"kind must be {WORDS[_KIND]}.")
    return text


def convert(value: Any, to: type[T]) -> T:
    """Convert a JSON value into a typed struct. Raises Invalid naming the field.

    JSON has one kind of number, and 5.0 is an integer (JSON Schema, 6.1.1): in the fields of the struct it is 5.
    """
    if isinstance(value, dict):
        value = {key: int(item) if _is_whole(item) else item for key, item in value.items()}
    try:
        return msgspec.convert(value, to)
    except msgspec.ValidationError as error:
        raise Invalid(faults=[_fault(str(error))]) from None


def _is_whole(value: Any) -> bool:
    return isinstance(value, float) and value.is_integer()


def _fault(message: str) -> Fault:
    match = _PATH_IN_MESSAGE.search(message)
    pointer = ""
    if match:
        message = message[: match.start()]
        pointer = re.sub(r"\.|\[", "/", match[2]).replace("]", "")
    if words := _DESCRIPTIONS.get(message):
        return Fault("invalid_value", pointer, f"Expected {words}.")
    for pattern, code in (
        (r"unknown field `(.*)`", "unknown_field"),
        (r"missing required field `(.*)`", "missing_field"),
    ):
        if named := re.search(pattern, message):
            return Fault(code, f"{pointer}/{escape_pointer_token(named[1])}", f"{message}.")
    is_type = message.startswith("Expected") and " of length " not in message and "matching" not in message
    return Fault("wrong_type" if is_type else "invalid_value", pointer, f"{message}.")
