"""Names of the composer's form fields."""

from __future__ import annotations

import enum


class Editor(enum.StrEnum):
    """The two ways to write a push."""

    NOTIFICATION = "notification"
    """One form field for each part of a notification."""
    PAYLOAD = "payload"
    """Apple's payload as JSON."""


class Audience(enum.StrEnum):
    """The recipients of a push."""

    SOME = "some"
    """The customers that the form names."""
    EVERYONE = "everyone"
    """All copies of the app."""


INTERRUPTION_LEVELS = ("passive", "active", "time-sensitive", "critical")
TEXT_FIELDS = ("title", "subtitle", "body", "thread_id", "category", "url", "image_url")
"""Fields of a notification that are sent as they are typed."""
NOTIFICATION_FIELDS = (
    *TEXT_FIELDS,
    *("badge", "sound", "interruption_level", "data_class", "primary_key", "data_synchro", "mutable_content"),
)
DELIVERY_FIELDS = ("priority", "ttl", "expiration", "collapse_id", "recipients")
"""Fields that both editors have."""
_PAYLOAD_FIELDS = ("payload", "push_type", "activity")
FIELDS_BY_EDITOR = {
    Editor.NOTIFICATION: (*NOTIFICATION_FIELDS, "data", *DELIVERY_FIELDS),
    Editor.PAYLOAD: (*_PAYLOAD_FIELDS, *DELIVERY_FIELDS),
}
"""The fields at which an editor can show remarks."""
ALL_FIELDS = frozenset(name for names in FIELDS_BY_EDITOR.values() for name in names)
