"""Translation of the composer's form into the body of `POST /v1.0/send/`.

The translation decides nothing: `relay/service/validation.py` checks the body.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from relay.console.composer.fields import ALL_FIELDS, TEXT_FIELDS, Audience, Editor
from relay.console.composer.remarks import Remark
from relay.core import strict_json
from relay.core.errors import MalformedBody

_NUMBER = re.compile(r"-?[0-9]{1,18}")
_RECIPIENT_SEPARATORS = re.compile(r"[\s,;]+")


@dataclass(frozen=True, slots=True, repr=False)
class Draft:
    """The content of the form. `texts` holds every field except `data`, whose rows are (key, value) pairs."""

    editor: Editor = Editor.NOTIFICATION
    audience: Audience = Audience.SOME
    texts: Mapping[str, str] = field(default_factory=dict)
    data: Sequence[tuple[str, str]] = ()

    def __getitem__(self, name: str) -> str:
        return self.texts.get(name, "")


def read_draft(pairs: Iterable[tuple[str, str]]) -> Draft:
    """Return the draft in the (name, value) pairs that a browser posts. Unknown fields are ignored."""
    texts: dict[str, str] = {}
    keys: list[str] = []
    values: list[str] = []
    for name, text in pairs:
        text = text.replace("\r\n", "\n")  # browsers post the lines of a text area with CRLF
        if name == "data_key":
            keys.append(text)
        elif name == "data_value":
            values.append(text)
        else:
            texts.setdefault(name, text)
    rows = [row for row in zip(keys, values, strict=False) if any(row)]
    editor = Editor.PAYLOAD if texts.get("editor") == Editor.PAYLOAD else Editor.NOTIFICATION
    audience = Audience.EVERYONE if texts.get("audience") == Audience.EVERYONE else Audience.SOME
    return Draft(editor, audience, {name: text for name, text in texts.items() if name in ALL_FIELDS}, rows)


def form_pairs(draft: Draft) -> list[tuple[str, str]]:
    """Return the (name, value) pairs that a browser posts for a draft."""
    pairs = [("editor", str(draft.editor)), ("audience", str(draft.audience)), *draft.texts.items()]
    for key, value in draft.data:
        pairs += [("data_key", key), ("data_value", value)]
    return pairs


def build_body(draft: Draft, app_id: str) -> tuple[dict[str, Any], list[Remark]]:
    """Return the body of a send, and errors for those parts of the form that cannot be read."""
    remarks: list[Remark] = []
    body: dict[str, Any] = {"app_id": app_id, "destinations": _destinations(draft, remarks)}
    if draft.editor == Editor.NOTIFICATION:
        body["notification"] = build_notification(draft, remarks)
    else:
        body["payload"] = read_payload(draft["payload"], remarks)
        for name in ("push_type", "activity"):
            if draft[name]:
                body[name] = draft[name]
    for name in ("priority", "ttl"):
        if draft[name]:
            body[name] = _read_number(draft[name])
    if draft["expiration"]:
        body["expiration"] = _read_epoch_seconds(draft["expiration"], remarks)
    if draft["collapse_id"]:
        body["collapse_id"] = draft["collapse_id"]
    return body, remarks


def _destinations(draft: Draft, remarks: list[Remark]) -> Any:
    """Return "all", or the named devices of each named customer; an empty list stands for all of its devices."""
    if draft.audience == Audience.EVERYONE:
        return "all"
    groups: list[tuple[str, list[str]]] = []
    for word in filter(None, _RECIPIENT_SEPARATORS.split(draft["recipients"])):
        if not word.startswith("d_"):
            groups.append((word, []))
        elif groups:
            groups[-1][1].append(word)
        else:
            remarks.append(Remark("recipients", f"{word}: name the customer before the device: c_… d_…"))
    destinations: dict[str, list[str]] = {}
    for customer, devices in groups:
        if customer in destinations:
            earlier = destinations[customer]
            devices = [*earlier, *devices] if earlier and devices else []
        destinations[customer] = devices
    return destinations


def build_notification(draft: Draft, remarks: list[Remark]) -> dict[str, Any]:
    """Return the `notification` of the body, and append errors to `remarks`."""
    notification: dict[str, Any] = {name: draft[name] for name in TEXT_FIELDS if draft[name]}
    if draft["badge"]:
        notification["badge"] = _read_number(draft["badge"])
    if sound := draft["sound"]:
        notification["sound"] = read_value(sound) if sound.startswith("{") else sound
    if draft["interruption_level"]:
        notification["interruption_level"] = draft["interruption_level"]
    if draft["mutable_content"]:
        notification["mutable_content"] = True
    if draft["data_synchro"]:
        notification["data_synchro"] = draft["data_synchro"] == "true"
    if draft["data_class"] or draft["primary_key"]:
        record = {"data_class": draft["data_class"], "primary_key": read_value(draft["primary_key"])}
        notification["open"] = {name: value for name, value in record.items() if value != ""}
    if data := _read_data(draft.data, remarks):
        notification["user_info"] = data
    return notification


def _read_data(rows: Sequence[tuple[str, str]], remarks: list[Remark]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for key, text in rows:
        if key in data:
            remarks.append(Remark("data", f"The key {key!r} occurs twice."))
        elif not key:
            remarks.append(Remark("data", "A value has no key."))
        else:
            data[key] = read_value(text)
    return data


def read_payload(text: str, remarks: list[Remark]) -> Any:
    """Return the payload that was typed as JSON. Append an error and return {} if it is not JSON."""
    try:
        return strict_json.decode(text.encode()) if text.strip() else {}
    except MalformedBody as error:
        remarks.append(Remark("payload", error.detail.replace("The body", "The payload", 1)))
        return {}


def read_value(text: str) -> Any:
    """Return the value of `text` as JSON, or `text` itself if it is not JSON: 5 is a number, five and "5" are texts."""
    try:
        return strict_json.decode(text.encode())
    except MalformedBody:
        return text


def _read_number(text: str) -> int | str:
    """Return the integer, or `text` itself if it is none; validation refuses it then."""
    return int(text) if _NUMBER.fullmatch(text.strip()) else text


def _read_epoch_seconds(text: str, remarks: list[Remark]) -> int | None:
    """Return the epoch seconds of a date and time in UTC, as a browser posts it. Append an error if it is none."""
    try:
        return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())
    except ValueError:
        remarks.append(Remark("expiration", "This must be a date and a time."))
        return None
