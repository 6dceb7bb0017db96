"""Apple's push types: topic suffix, kind of device token and payload limit of each.

Source: Apple's "Sending notification requests to APNs". A device token has one *kind*: a token from
`didRegisterForRemoteNotifications…` ("apns") cannot receive a VoIP push, which needs PushKit's token. The kind
decides the token's topic.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec


class PushTypeRule(msgspec.Struct, frozen=True):
    """A push type: its topic suffix, the kind of device token it needs, and its payload limit."""

    suffix: str
    kind: str
    max_payload_bytes: int = 4096


PUSH_TYPES: Final = {
    "alert": PushTypeRule("", "apns"),
    "background": PushTypeRule("", "apns"),
    "mdm": PushTypeRule("", "mdm"),
    "voip": PushTypeRule(".voip", "voip", 5120),
    "complication": PushTypeRule(".complication", "complication"),
    "fileprovider": PushTypeRule(".pushkit.fileprovider", "fileprovider"),
    "location": PushTypeRule(".location-query", "location"),
    "liveactivity": PushTypeRule(".push-type.liveactivity", "liveactivity"),
    "pushtotalk": PushTypeRule(".voip-ptt", "pushtotalk"),
    "widgets": PushTypeRule(".push-type.widgets", "widgets"),
    "controls": PushTypeRule(".push-type.controls", "controls"),
}

MAX_PAYLOAD_BYTES: Final = max(rule.max_payload_bytes for rule in PUSH_TYPES.values())

SUFFIX_OF_KIND: Final = {rule.kind: rule.suffix for rule in PUSH_TYPES.values()}

# A device may have several Live Activity tokens: "liveactivity-start", "liveactivity:<activity>".
_KIND: Final = re.compile(r"(?P<family>[a-z]+)(?:[-:][\x21-\x7e]{1,128})?")


def family_of_kind(kind: str) -> str | None:
    """Return the part of a kind before the first separator, e.g. "liveactivity"; None for an unknown kind."""
    match = _KIND.fullmatch(kind)
    if match is None or match["family"] not in SUFFIX_OF_KIND:
        return None
    return match["family"]


def type_of_topic(topic: str) -> str | None:
    """Return the push type of a topic's suffix; None if the topic has no such suffix."""
    for name, rule in PUSH_TYPES.items():
        if rule.suffix and topic.endswith(rule.suffix):
            return name
    return None
