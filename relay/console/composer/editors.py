"""Moves of a draft from one editor to the other, without loss.

A move is made only if the form would read back the same payload.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from relay.console.composer.fields import DELIVERY_FIELDS, INTERRUPTION_LEVELS, TEXT_FIELDS, Editor
from relay.console.composer.form import (
    Draft,
    build_notification,
    form_pairs,
    read_draft,
    read_payload,
    read_value,
)
from relay.console.composer.remarks import Remark
from relay.core.push import notification as notifications


def move_to_payload(draft: Draft) -> Draft | None:
    """Return the draft for the payload editor, or None if something would be lost."""
    remarks: list[Remark] = []
    notification = build_notification(draft, remarks)
    payload = notifications.draft_notification(notification)
    user_info = notification.get("user_info", {})
    if remarks or any(payload.get(key) != value for key, value in user_info.items()):
        return None
    texts = {**_delivery_texts(draft), "payload": _dump_json(payload, indent=2)}
    return Draft(Editor.PAYLOAD, draft.audience, texts)


def move_to_notification(draft: Draft) -> Draft | None:
    """Return the draft for the notification editor, or None if its fields cannot express the payload."""
    remarks: list[Remark] = []
    payload = read_payload(draft["payload"], remarks)
    empty = Draft(Editor.NOTIFICATION, draft.audience, _delivery_texts(draft))
    if payload == {} and not remarks:
        return empty
    is_alert = draft["push_type"] in ("", "alert") and not draft["activity"]
    if remarks or not isinstance(payload, dict) or not is_alert:
        return None
    notification = notifications.notification_from_payload(payload)
    if notification is None:
        return None
    texts = {**empty.texts, **_notification_texts(notification)}
    data = [(key, _type_value(value)) for key, value in notification.get("user_info", {}).items()]
    moved = replace(empty, texts=texts, data=data)
    return moved if _expresses(moved, payload) else None


def _delivery_texts(draft: Draft) -> dict[str, str]:
    return {name: draft[name] for name in DELIVERY_FIELDS if draft[name]}


def _notification_texts(notification: Mapping[str, Any]) -> dict[str, str]:
    """Return the texts of the form fields that express `notification`, without the rows of `data`."""
    record = notification.get("open", {})
    texts = {name: notification[name] for name in TEXT_FIELDS if isinstance(notification.get(name), str)}
    for name, value in (
        ("badge", notification.get("badge")),
        ("sound", notification.get("sound")),
        ("interruption_level", notification.get("interruption_level")),
        ("data_class", record.get("data_class")),
        ("data_synchro", notification.get("data_synchro")),
    ):
        if value is not None:
            texts[name] = value if isinstance(value, str) else _dump_json(value)
    if "primary_key" in record:
        texts["primary_key"] = _type_value(record["primary_key"])
    if notification.get("mutable_content"):
        texts["mutable_content"] = "1"
    return texts


def _expresses(draft: Draft, payload: dict[str, Any]) -> bool:
    """Return whether a browser can hold `draft` and posts it so that it is read as `payload`."""
    remarks: list[Remark] = []
    read_back = notifications.draft_notification(build_notification(read_draft(form_pairs(draft)), remarks))
    is_equal = json.dumps(read_back, sort_keys=True) == json.dumps(payload, sort_keys=True)
    # Browsers normalise line ends, and keep lines in text areas only.
    single_lines = [text for name, text in form_pairs(draft) if name != "body"]
    keeps_lines = not any("\n" in text for text in single_lines) and "\r" not in draft["body"]
    is_encodable = all(_is_encodable(text) for _, text in form_pairs(draft))
    has_known_level = draft["interruption_level"] in ("", *INTERRUPTION_LEVELS)
    return is_equal and keeps_lines and is_encodable and not remarks and has_known_level


def _type_value(value: Any) -> str:
    """Return the text that `read_value` reads as `value`."""
    if isinstance(value, str) and read_value(value) == value and value.isprintable():
        return value
    return _dump_json(value)


def _dump_json(value: Any, indent: int | None = None) -> str:
    """Return readable JSON. Halves of surrogate pairs stay escaped, because a page cannot hold them."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return text if _is_encodable(text) else json.dumps(value, indent=indent)


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
