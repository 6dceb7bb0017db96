"""The composer's form <-> the body of `POST /v1.0/send/`: only a translation, which decides nothing.

`relay/service/validation.py` says what is wrong with a push; here its words find the field they are about. A form is
read from the pairs that a browser posts. It has two editors, and what stands in one can move to the other if nothing of
it is lost.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from relay.core import strict_json
from relay.core.errors import Fault, MalformedBody
from relay.core.push import notification as notifications

NOTIFICATION, PAYLOAD = "notification", "payload"
"""The two editors: fields, and Apple's payload as JSON."""
SOME, EVERYONE = "some", "everyone"
"""Whom a push is for."""
LEVELS = ("passive", "active", "time-sensitive", "critical")
_WORDS = ("title", "subtitle", "body", "thread_id", "category", "url", "image_url")
_OF_NOTIFICATION = (
    *_WORDS,
    *("badge", "sound", "interruption_level", "data_class", "primary_key", "data_synchro", "mutable_content"),
)
_OF_ALL = ("priority", "ttl", "expiration", "collapse_id", "recipients")
_OF_PAYLOAD = ("payload", "push_type", "activity")
_NUMBER = re.compile(r"-?[0-9]{1,18}")
_SEPARATORS = re.compile(r"[\s,;]+")
_MOST_REMARKS = 5
"""So many are shown at one field; the rest is counted."""
FIELDS = {
    NOTIFICATION: (*_OF_NOTIFICATION, "data", *_OF_ALL),
    PAYLOAD: (*_OF_PAYLOAD, *_OF_ALL),
}
"""The fields of each editor, which remarks can stand at; "" is the form as a whole."""
_FIELDS = {*FIELDS[NOTIFICATION], *FIELDS[PAYLOAD]}


class Remark(NamedTuple):
    """A sentence at a field of the form. `is_error`: nothing can be sent before it is mended."""

    field: str
    text: str
    is_error: bool = True


@dataclass(frozen=True, slots=True, repr=False)
class Draft:
    """What stands in the form. `texts` has every field but the rows of `data`, "" where nothing was typed."""

    editor: str = NOTIFICATION
    audience: str = SOME
    texts: Mapping[str, str] = field(default_factory=dict)
    data: Sequence[tuple[str, str]] = ()

    def __getitem__(self, name: str) -> str:
        return self.texts.get(name, "")


def read(pairs: Iterable[tuple[str, str]]) -> Draft:
    """The form that was posted. Fields that it does not have are not looked at."""
    texts: dict[str, str] = {}
    keys: list[str] = []
    values: list[str] = []
    for name, text in pairs:
        text = text.replace("\r\n", "\n")  # as browsers post the lines of a text area
        if name == "data_key":
            keys.append(text)
        elif name == "data_value":
            values.append(text)
        else:
            texts.setdefault(name, text)
    rows = [row for row in zip(keys, values, strict=False) if any(row)]
    editor = PAYLOAD if texts.get("editor") == PAYLOAD else NOTIFICATION
    audience = EVERYONE if texts.get("audience") == EVERYONE else SOME
    return Draft(editor, audience, {name: text for name, text in texts.items() if name in _FIELDS}, rows)


# --- the form -> a body ---


def body_of(draft: Draft, app_id: str) -> tuple[dict[str, Any], list[Remark]]:
    """The body that the form asks for, and what of the form could not be read at all."""
    remarks: list[Remark] = []
    body: dict[str, Any] = {"app_id": app_id, "destinations": _destinations(draft, remarks)}
    if draft.editor == NOTIFICATION:
        body["notification"] = _notification(draft, remarks)
    else:
        body["payload"] = _payload(draft["payload"], remarks)
        for name in ("push_type", "activity"):
            if draft[name]:
                body[name] = draft[name]
    for name in ("priority", "ttl"):
        if draft[name]:
            body[name] = _number(draft[name])
    if draft["expiration"]:
        body["expiration"] = _epoch(draft["expiration"], remarks)
    if draft["collapse_id"]:
        body["collapse_id"] = draft["collapse_id"]
    return body, remarks


def _destinations(draft: Draft, remarks: list[Remark]) -> Any:
    if draft.audience == EVERYONE:
        return "all"
    named: list[tuple[str, list[str]]] = []
    for word in filter(None, _SEPARATORS.split(draft["recipients"])):
        if not word.startswith("d_"):
            named.append((word, []))
        elif named:
            named[-1][1].append(word)
        else:
            remarks.append(Remark("recipients", f"{word}: a device follows its customer, as in c_… d_…"))
    wanted: dict[str, list[str]] = {}
    for name, devices in named:
        if name in wanted:  # no devices: all of them
            devices = [*wanted[name], *devices] if wanted[name] and devices else []
        wanted[name] = devices
    return wanted


def _notification(draft: Draft, remarks: list[Remark]) -> dict[str, Any]:
    made: dict[str, Any] = {name: draft[name] for name in _WORDS if draft[name]}
    if draft["badge"]:
        made["badge"] = _number(draft["badge"])
    if draft["sound"]:
        made["sound"] = _value(draft["sound"]) if draft["sound"].startswith("{") else draft["sound"]
    if draft["interruption_level"]:
        made["interruption_level"] = draft["interruption_level"]
    if draft["mutable_content"]:
        made["mutable_content"] = True
    if draft["data_synchro"]:
        made["data_synchro"] = draft["data_synchro"] == "true"
    opened = {"data_class": draft["data_class"], "primary_key": _value(draft["primary_key"])}
    if draft["data_class"] or draft["primary_key"]:
        made["open"] = {name: value for name, value in opened.items() if value != ""}
    data: dict[str, Any] = {}
    for key, text in draft.data:
        if key in data:
            remarks.append(Remark("data", f"The key {key!r} is there twice."))
        elif not key:
            remarks.append(Remark("data", "There is a value without a key."))
        else:
            data[key] = _value(text)
    if data:
        made["user_info"] = data
    return made


def _payload(text: str, remarks: list[Remark]) -> Any:
    try:
        return strict_json.decode(text.encode()) if text.strip() else {}
    except MalformedBody as error:
        remarks.append(Remark("payload", error.detail.replace("The body", "The payload", 1)))
        return {}


def _number(text: str) -> int | str:
    """What is no number stays text, and is refused as such."""
    return int(text) if _NUMBER.fullmatch(text.strip()) else text


def _value(text: str) -> Any:
    """JSON if it is some, else the text itself: 5 is a number, "5" in quotes is text, and so is five."""
    try:
        return strict_json.decode(text.encode())
    except MalformedBody:
        return text


def _epoch(text: str, remarks: list[Remark]) -> int | None:
    """Epoch seconds of what a browser posts for a date and time, which is in UTC here."""
    try:
        return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())
    except ValueError:
        remarks.append(Remark("expiration", "This must be a date and a time."))
        return None


# --- from one editor to the other ---


def as_payload(draft: Draft) -> Draft | None:
    """The same push in the other editor, or None if something of it would be lost."""
    remarks: list[Remark] = []
    notification = _notification(draft, remarks)
    payload = notifications.draft(notification)
    lost = (key for key, value in notification.get("user_info", {}).items() if payload.get(key) != value)
    if remarks or any(True for _ in lost):
        return None
    text = _dumps(payload, indent=2)
    kept = {name: draft[name] for name in _OF_ALL if draft[name]}
    return Draft(PAYLOAD, draft.audience, {**kept, "payload": text})


def as_notification(draft: Draft) -> Draft | None:
    """The same push in the other editor, or None if it has more than the fields can say."""
    remarks: list[Remark] = []
    payload = _payload(draft["payload"], remarks)
    kept = {name: draft[name] for name in _OF_ALL if draft[name]}
    empty = Draft(NOTIFICATION, draft.audience, kept)
    if payload == {} and not remarks:
        return empty
    if (
        remarks
        or not isinstance(payload, dict)
        or draft["push_type"] not in ("", "alert")
        or draft["activity"]
    ):
        return None
    notification = notifications.from_payload(payload)
    if notification is None:
        return None
    opened = notification.get("open", {})
    texts = {name: notification[name] for name in _WORDS if isinstance(notification.get(name), str)}
    for name, value in (
        ("badge", notification.get("badge")),
        ("sound", notification.get("sound")),
        ("interruption_level", notification.get("interruption_level")),
        ("data_class", opened.get("data_class")),
        ("data_synchro", notification.get("data_synchro")),
    ):
        if value is not None:
            texts[name] = value if isinstance(value, str) else _dumps(value)
    if "primary_key" in opened:
        texts["primary_key"] = _text(opened["primary_key"])
    if notification.get("mutable_content"):
        texts["mutable_content"] = "1"
    data = [(key, _text(value)) for key, value in notification.get("user_info", {}).items()]
    made = replace(empty, texts={**kept, **texts}, data=data)
    # Reading is the rule here too.
    again = notifications.draft(_notification(read(pairs_of(made)), remarks))
    same = json.dumps(again, sort_keys=True) == json.dumps(payload, sort_keys=True)
    lines = [text for name, text in pairs_of(made) if name != "body"]
    fits = not any("\n" in text for text in lines) and "\r" not in made["body"]  # as browsers keep text
    fits = fits and all(_is_text(text) for _, text in pairs_of(made))
    return made if same and fits and not remarks and made["interruption_level"] in ("", *LEVELS) else None


def pairs_of(draft: Draft) -> list[tuple[str, str]]:
    """What a browser posts for this form."""
    pairs = [("editor", draft.editor), ("audience", draft.audience), *draft.texts.items()]
    for key, value in draft.data:
        pairs += [("data_key", key), ("data_value", value)]
    return pairs


def _text(value: Any) -> str:
    """What is to be typed for that value to be read."""
    if isinstance(value, str) and _value(value) == value and value.isprintable():
        return value
    return _dumps(value)


def _dumps(value: Any, indent: int | None = None) -> str:
    """JSON as people write it; halves of characters, which no page can hold, stay escaped."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return text if _is_text(text) else json.dumps(value, indent=indent)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# --- what is wrong -> where it stands ---

_PLACES = {
    "/notification/open": "data_class",
    "/notification/open/data_class": "data_class",
    "/notification/open/primary_key": "primary_key",
}


def remarks_of(faults: Sequence[Fault], *, is_error: bool) -> list[Remark]:
    """What a check said, at the fields of the form."""
    return [_remark(fault, is_error) for fault in faults]


def _remark(fault: Fault, is_error: bool) -> Remark:
    if fault.code == "payload_too_large":
        return Remark("size", fault.detail, is_error)
    if fault.pointer in _PLACES:
        return Remark(_PLACES[fault.pointer], fault.detail, is_error)
    pointer = fault.pointer.encode("utf-8", "replace").decode()  # a key may have half a character
    _, top, *rest = [*pointer.split("/"), ""]
    where = _unescaped(rest[0]) if rest else ""
    if top == "destinations":
        device = " (device)" if len(rest) > 2 else ""
        return Remark("recipients", f"{where}{device}: {fault.detail}" if where else fault.detail, is_error)
    if top == "payload":
        inner = "/".join(rest[:-1])
        return Remark("payload", f"{inner}: {fault.detail}" if inner else fault.detail, is_error)
    if top == "notification":
        if where == "user_info":
            key = _unescaped(rest[1]) if len(rest) > 2 else ""
            return Remark("data", f"{key}: {fault.detail}" if key else fault.detail, is_error)
        return Remark(where if where in _OF_NOTIFICATION else "", fault.detail, is_error)
    return Remark(top if top in _FIELDS else "", fault.detail, is_error)


def _unescaped(token: str) -> str:
    """The key that a token of a JSON pointer stands for (RFC 6901 section 4)."""
    return token.replace("~1", "/").replace("~0", "~")


def by_field(remarks: Iterable[Remark]) -> dict[str, list[Remark]]:
    """The remarks of each field, errors first; of many the first few, and how many more there are."""
    found: dict[str, list[Remark]] = {}
    for remark in sorted(remarks, key=lambda one: not one.is_error):
        found.setdefault(remark.field, []).append(remark)
    for name, own in found.items():
        if len(own) > _MOST_REMARKS:
            rest = Remark(name, f"And {len(own) - _MOST_REMARKS} more.", own[_MOST_REMARKS].is_error)
            found[name] = [*own[:_MOST_REMARKS], rest]
    return found
