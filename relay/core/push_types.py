"""The push types of APNs as one table (Apple, "Sending notification requests to APNs").

A push type chooses the topic's suffix, the kind of device token it goes to, the size its payload may have (bytes,
uncompressed), and the priorities it may have; the first priority is the default.
"""

from __future__ import annotations

from dataclasses import dataclass

ALERT_LIMIT = 4096
VOIP_LIMIT = 5120


@dataclass(frozen=True, slots=True)
class PushType:
    """One row of the table. `needs_aps` is False where Apple's payload has another top-level key."""

    name: str
    suffix: str = ""
    token_kind: str = "apns"
    limit: int = ALERT_LIMIT
    priorities: tuple[int, ...] = (10, 5, 1)
    default_expiration: int | None = None
    needs_aps: bool = True


PUSH_TYPES: dict[str, PushType] = {
    row.name: row
    for row in (
        PushType("alert"),
        PushType("background", priorities=(5, 1)),
        PushType("voip", ".voip", "voip", VOIP_LIMIT, default_expiration=0, needs_aps=False),
        PushType("complication", ".complication", "complication"),
        PushType("fileprovider", ".pushkit.fileprovider", "fileprovider", needs_aps=False),
        PushType("mdm", "", "mdm", needs_aps=False),
        PushType("location", ".location-query", "location"),
        PushType("liveactivity", ".push-type.liveactivity", "liveactivity", priorities=(10, 5)),
        PushType("pushtotalk", ".voip-ptt", "pushtotalk", priorities=(10,), default_expiration=0),
        PushType("widgets", ".push-type.widgets", "widgets"),
        PushType("controls", ".push-type.controls", "controls"),
    )
}


def default_push_type(payload: dict[str, object]) -> PushType:
    """Background for a payload whose `aps` holds `content-available` only, else alert."""
    aps = payload.get("aps")
    if isinstance(aps, dict) and aps.keys() == {"content-available"}:
        return PUSH_TYPES["background"]
    return PUSH_TYPES["alert"]
