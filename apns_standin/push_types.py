"""Apple's push types: which topic each goes to, which kind of device token it needs, how large it may be.

Source: Apple's "Sending notification requests to APNs". A device token belongs to one *kind*: what the app
got from `didRegisterForRemoteNotifications…` ("apns") can't receive a VoIP push, which needs PushKit's
token, and so on. The kind decides the token's topic.
"""

from __future__ import annotations

import re

import msgspec


class PushTypeRule(msgspec.Struct, frozen=True):
    """One push type: its topic suffix, the kind of device token it needs, its payload limit in bytes."""

    suffix: str
    kind: str
    max_payload: int = 4096


PUSH_TYPES = {
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

LARGEST_PAYLOAD = max(push_type.max_payload for push_type in PUSH_TYPES.values())

SUFFIX_OF_KIND = {push_type.kind: push_type.suffix for push_type in PUSH_TYPES.values()}

# One device has several Live Activity tokens: "liveactivity-start", "liveactivity:<activity>".
_KIND = re.compile(r"(?P<family>[a-z]+)(?:[-:][\x21-\x7e]{1,128})?")


def family_of_kind(kind: str) -> str | None:
    """The kind without what tells several tokens of a device apart; None for an unknown kind."""
    match = _KIND.fullmatch(kind)
    if match is None or match["family"] not in SUFFIX_OF_KIND:
        return None
    return match["family"]


def type_of_topic(topic: str) -> str | None:
    """The push type a topic's suffix stands for; None when the topic has no such suffix."""
    # Only two dozen bytes decide, so the common topic without suffix costs one comparison per type.
    for name, push_type in PUSH_TYPES.items():
        if push_type.suffix and topic.endswith(push_type.suffix):
            return name
    return None
