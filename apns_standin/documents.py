"""JSON documents of the control API: notifications and device tokens."""

from __future__ import annotations

from typing import Any

import msgspec

from .inbox import Notification
from .registry import StandInDevice


def notification_document(notification: Notification) -> dict[str, Any]:
    """Return a notification as its device token lists it; `time` is epoch ms."""
    return {
        "index": notification.index,
        "time": notification.time_ms,
        "apns_id": notification.apns_id,
        "environment": notification.environment,
        "team_id": notification.team_id,
        "key_id": notification.key_id,
        "headers": {_json_text(name): _json_text(value) for name, value in notification.headers.items()},
        "payload": msgspec.json.decode(notification.body),
    }


def feed_document(notification: Notification) -> dict[str, Any]:
    """Return a notification as the feed lists it: `index` counts in the feed, `device_index` per device token."""
    document = notification_document(notification)
    document["index"] = notification.feed_index
    document["device_index"] = notification.index
    document["device_token"] = notification.device_token
    return document


def device_document(device: StandInDevice, team_id: str | None, count: int) -> dict[str, Any]:
    """Return a device token of a team; `count` is the number of notifications received since the start."""
    return {
        "device_token": device.token,
        "bundle_id": device.bundle_id,
        "team_id": team_id,
        "environment": device.environment,
        "kind": device.kind,
        "count": count,
        "state": "active" if device.unregistered_ms is None else "unregistered",
        "unregistered_at": device.unregistered_ms,
    }


def _json_text(value: str) -> str:
    """Escape the surrogates that stand for bytes outside UTF-8: JSON cannot hold them."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
