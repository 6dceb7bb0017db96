"""The push types of APNs as one table (Apple, "Sending notification requests to APNs").

A push type decides the suffix of the topic, the kind of device token, the limit of the payload (bytes, uncompressed),
the allowed priorities, of which the first is the default, and how long a push may be kept.
"""

from __future__ import annotations

from dataclasses import dataclass

ALERT_LIMIT_BYTES = 4096
VOIP_LIMIT_BYTES = 5120


@dataclass(frozen=True, slots=True)
class PushType:
    """A row of the table. `needs_aps` is False where the payload has another top-level key."""

    name: str
    suffix: str = ""
    token_kind: str = "apns"
    limit_bytes: int = ALERT_LIMIT_BYTES
    priorities: tuple[int, ...] = (10, 5, 1)
    default_expiration: int | None = None
    longest_life_seconds: int | None = None
    """The longest time that a push may be kept; 0: one attempt; None: no limit."""
    needs_aps: bool = True


PUSH_TYPES: dict[str, PushType] = {
    row.name: row
    for row in (
        PushType("alert"),
        PushType("background", priorities=(5, 1)),
        # "0 or only a few seconds" (Apple): a call that is signalled late has ended. The number is a rule of the relay.
        PushType(
            "voip",
            ".voip",
            "voip",
            VOIP_LIMIT_BYTES,
            default_expiration=0,
            longest_life_seconds=30,
            needs_aps=False,
        ),
        PushType("complication", ".complication", "complication"),
        PushType("fileprovider", ".pushkit.fileprovider", "fileprovider", needs_aps=False),
        PushType("mdm", "", "mdm", needs_aps=False),
        PushType("location", ".location-query", "location"),
        PushType("liveactivity", ".push-type.liveactivity", "liveactivity", priorities=(10, 5)),
        PushType(
            "pushtotalk",
            ".voip-ptt",
            "pushtotalk",
            priorities=(10,),
            default_expiration=0,
            longest_life_seconds=0,
        ),
        PushType("widgets", ".push-type.widgets", "widgets"),
        PushType("controls", ".push-type.controls", "controls"),
    )
}

LIVE_ACTIVITY = PUSH_TYPES["liveactivity"]


def live_activity_kind(event: object, activity: str | None) -> str:
    """Return the kind of device token for an event: to start an activity, of `activity`, or of the only activity."""
    if event == "start":
        return "liveactivity-start"
    return LIVE_ACTIVITY.token_kind if activity is None else f"{LIVE_ACTIVITY.token_kind}:{activity}"


def default_push_type(payload: dict[str, object]) -> PushType:
    """Return background for a payload whose `aps` holds only `content-available`, else alert."""
    aps = payload.get("aps")
    if isinstance(aps, dict) and aps.keys() == {"content-available"}:
        return PUSH_TYPES["background"]
    return PUSH_TYPES["alert"]
