"""Notifications: a friendly form of payloads, converted as the 4D Mobile App Server does.

    title, subtitle, body                         aps.alert
    title_loc_key, title_loc_args, subtitle_loc_…, loc_key, loc_args    aps.alert, with hyphens
    badge, sound, category, thread_id, interruption_level, url          aps
    mutable_content: true                         aps.mutable-content: 1
    image_url                                     data.media-url, and aps.mutable-content: 1
    user_info                                     its keys, beside aps
    open: {data_class, primary_key}               dataClass, entity.primaryKey
    data_synchro                                  dataSynchro; true where a record is opened, unless said otherwise

As there, null and "" count as absent. Unlike there, a missing title is an error and not "Empty title", and so is a key
that would silently overwrite another.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

from relay.core.errors import Fault, Invalid
from relay.core.push import payload as payloads
from relay.core.push.push_types import PUSH_TYPES
from relay.core.strict_json import escape_pointer_token

PUSH_TYPE = PUSH_TYPES["alert"]
"""The push type of notifications."""
_POINTER = "/notification"
_ALERT = (
    *("title", "subtitle", "body", "title_loc_key", "title_loc_args"),
    *("subtitle_loc_key", "subtitle_loc_args", "loc_key", "loc_args"),
)
_APS = ("badge", "sound", "category", "thread_id", "interruption_level", "url")
_PLACES = {
    **{field: ("aps", "alert", field.replace("_", "-")) for field in _ALERT},
    **{field: ("aps", field.replace("_", "-")) for field in _APS},
    "image_url": ("data", "media-url"),
}
"""Field -> the path of its value in the payload."""
_FIELDS = {*_PLACES, "mutable_content", "user_info", "open", "data_synchro"}
_OPEN_FIELDS = {"data_class", "primary_key"}
_MAX_UNKNOWN_FAULTS = 20


def check_notification(notification: Any) -> payloads.CheckedPayload:
    """Return the payload of a notification, checked and encoded. Raises Invalid naming each wrong field."""
    faults: list[Fault] = []
    payload = _build(notification, faults)
    warnings: tuple[Fault, ...] = ()
    try:
        encoded, warnings = payloads.check_payload(payload, PUSH_TYPE)
    except Invalid as error:
        faults.extend(map(_in_notification, error.faults))
    if faults:
        raise Invalid(faults=faults)
    # Apple does not know `aps.url`; the apps that use notifications do.
    known_to_apps = "/payload/aps/url"
    return payloads.CheckedPayload(
        encoded, tuple(_in_notification(warning) for warning in warnings if warning.pointer != known_to_apps)
    )


def draft_notification(notification: Any) -> dict[str, Any]:
    """Return the payload of the right fields of a notification that is still being written."""
    return _build(notification, [])


def notification_from_payload(payload: dict[str, Any]) -> dict[str, Any] | None:
    """Return the notification that becomes exactly this payload, right or wrong, or None if there is none."""
    notification = {
        field: value for field, place in _PLACES.items() if (value := _at(payload, place)) is not None
    }
    if _at(payload, ("aps", "mutable-content")) is not None and "image_url" not in notification:
        notification["mutable_content"] = True
    if "dataClass" in payload:
        opened = {"data_class": payload["dataClass"], "primary_key": _at(payload, ("entity", "primaryKey"))}
        notification["open"] = {field: value for field, value in opened.items() if value is not None}
    taken = {"aps"}
    if isinstance(payload.get("dataSynchro"), bool):
        notification["data_synchro"] = payload["dataSynchro"]
        taken.add("dataSynchro")
    taken |= {"dataClass", "entity"} if "open" in notification else set()
    taken |= {"data"} if "image_url" in notification else set()
    if others := {key: value for key, value in payload.items() if key not in taken}:
        notification["user_info"] = others
    # A notification fits only if it becomes the payload again. They are compared as text: in Python 1 equals True.
    fits = json.dumps(draft_notification(notification), sort_keys=True) == json.dumps(payload, sort_keys=True)
    return notification if fits else None


def _at(payload: Any, place: tuple[str, ...]) -> Any:
    for key in place:
        payload = payload.get(key) if isinstance(payload, dict) else None
    return payload


def _in_notification(fault: Fault) -> Fault:
    """Move a fault of the payload to the field that it comes from."""
    for field, place in _PLACES.items():
        pointer = "/".join(("/payload", *place))
        if fault.pointer == pointer or fault.pointer.startswith(f"{pointer}/"):
            return fault._replace(pointer=f"{_POINTER}/{field}{fault.pointer.removeprefix(pointer)}")
    return fault._replace(pointer=_POINTER)


def _build(notification: Any, faults: list[Fault]) -> dict[str, Any]:
    """Build the payload from the right fields. Types of keys that Apple knows are not checked here."""
    payload: dict[str, Any] = {"aps": {"alert": {}}}
    if not isinstance(notification, dict):
        faults.append(Fault("wrong_type", _POINTER, "The notification must be an object."))
        return payload
    given = {field: value for field, value in notification.items() if value is not None and value != ""}
    faults += _unknown(notification, _FIELDS, _POINTER)
    for field, place in _PLACES.items():
        if field in given:
            *parents, last = place
            parent = payload
            for key in parents:
                parent = parent.setdefault(key, {})
            parent[last] = given[field]
    _check_words(given, faults)
    if "badge" in given:
        payload["aps"]["badge"] = _whole(given["badge"])
    if given.get("mutable_content") or "image_url" in given:
        payload["aps"]["mutable-content"] = 1
    _add_user_info(payload, given, faults)
    _add_open(payload, given, faults)
    return payload


def _unknown(value: dict[str, Any], known: set[str], pointer: str) -> Iterator[Fault]:
    """Yield faults of the first unknown fields: a body may hold a hundred thousand."""
    for field in islice((field for field in value if field not in known), _MAX_UNKNOWN_FAULTS):
        yield Fault("unknown_field", f"{pointer}/{escape_pointer_token(field)}", "There is no such field.")


def _wrong_type(field: str, wanted: str) -> Fault:
    return Fault("wrong_type", f"{_POINTER}/{field}", f"This must be {wanted}.")


def _whole(value: Any) -> Any:
    """Return 5 for 5.0, as the apps expect it: in JSON 5.0 is whole (JSON Schema, 6.1.1)."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _check_words(given: dict[str, Any], faults: list[Fault]) -> None:
    """Check the rules that the schema of payloads does not have."""
    if "title" not in given and "title_loc_key" not in given:
        faults.append(Fault("missing_field", f"{_POINTER}/title", "A notification needs a title."))
    for words in ("title_loc", "subtitle_loc", "loc"):
        if f"{words}_args" in given and f"{words}_key" not in given:
            detail = f"`{words}_args` are put into the text of `{words}_key`, which is missing."
            faults.append(Fault("missing_field", f"{_POINTER}/{words}_key", detail))
    faults += (
        _wrong_type(field, "a string")
        for field in ("url", "image_url")
        if not isinstance(given.get(field, ""), str)
    )
    mutable = given.get("mutable_content", True)
    if not isinstance(mutable, bool):
        faults.append(_wrong_type("mutable_content", "true or false"))
    elif not mutable and "image_url" in given:
        detail = "An image is only shown in a notification whose content may be changed."
        faults.append(Fault("not_allowed", f"{_POINTER}/mutable_content", detail))


def _add_user_info(payload: dict[str, Any], given: dict[str, Any], faults: list[Fault]) -> None:
    user_info = given.get("user_info", {})
    if not isinstance(user_info, dict):
        faults.append(_wrong_type("user_info", "an object"))
        return
    taken = {"aps", *payload}
    if "open" in given:
        taken |= {"dataClass", "entity"}
    for key, value in user_info.items():
        if key in taken:
            detail = "The notification has this key already."
            faults.append(Fault("not_allowed", f"{_POINTER}/user_info/{key}", detail))
        else:
            payload[key] = value


def _add_open(payload: dict[str, Any], given: dict[str, Any], faults: list[Fault]) -> None:
    """Add the list or record that the app opens, and whether it synchronises its data."""
    synchronise = given.get("data_synchro")
    if not isinstance(synchronise, bool | None):
        faults.append(_wrong_type("data_synchro", "true or false"))
    elif synchronise is not None:
        if payload.get("dataSynchro", synchronise) not in (synchronise, None):
            detail = "`user_info` has another `dataSynchro`."
            faults.append(Fault("not_allowed", f"{_POINTER}/data_synchro", detail))
        payload["dataSynchro"] = synchronise
    if "open" not in given:
        return
    opened, pointer = given["open"], f"{_POINTER}/open"
    if not isinstance(opened, dict):
        faults.append(_wrong_type("open", "an object"))
        return
    faults += _unknown(opened, _OPEN_FIELDS, pointer)
    data_class, primary_key = opened.get("data_class"), _whole(opened.get("primary_key"))
    if data_class is None or data_class == "":
        faults.append(Fault("missing_field", f"{pointer}/data_class", "Which list, or a record of which?"))
    elif not isinstance(data_class, str):
        faults.append(_wrong_type("open/data_class", "a string"))
    payload["dataClass"] = data_class
    if primary_key is None or primary_key == "":
        return
    if not isinstance(primary_key, str | int) or isinstance(primary_key, bool):
        faults.append(_wrong_type("open/primary_key", "a string or an integer"))
    payload["entity"] = {"primaryKey": primary_key}
    if payload.get("dataSynchro") is None:
        payload["dataSynchro"] = True
