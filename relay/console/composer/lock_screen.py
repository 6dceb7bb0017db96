"""What of a payload is seen on a lock screen: what the composer draws.

After Apple, "Generating a remote notification", and what iOS 18 shows: a title and a subtitle of one line each, a body
of up to four, an image beside them. Where the words come from the app's own tables, the key stands for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_ABOUT_A_LINE = 40
"""Characters; a line of a usual phone. Only to say that a text will be cut: the drawing cuts by itself."""
_LINES = 4
_UNSEEN = {
    "background": "Nothing is seen: the app wakes up for a moment and fetches what it needs.",
    "voip": "Nothing is seen of this: the app itself shows a call.",
    "complication": "Nothing is seen on the lock screen: the app renews what is on the watch face.",
    "fileprovider": "Nothing is seen: the file provider looks for changes.",
    "mdm": "Nothing is seen: the device asks its management server for commands.",
    "location": "Nothing is seen: the app's location extension is asked where the device is.",
    "pushtotalk": "Nothing is seen of this: the app joins a conversation.",
    "widgets": "Nothing is seen of this: the app's widgets are drawn anew.",
    "controls": "Nothing is seen of this: the app's controls are drawn anew.",
}
_NO_ALERT = "Nothing is shown: the payload has no alert."
_LEVELS = {
    "passive": "It is added to the list of notifications in silence; the screen stays dark.",
    "time-sensitive": "It is shown at once, and breaks through Focus if the app may do that.",
    "critical": "It sounds even when the device is muted, if Apple allowed the app critical alerts.",
}


@dataclass(frozen=True, slots=True)
class Picture:
    """A notification as it is drawn. `seen`: there is one; if not, `notes` says why.

    `heading` is what iOS writes above the title of some levels. `badge` is the number at the app's icon, None for none.
    """

    seen: bool
    title: str = ""
    subtitle: str = ""
    body: str = ""
    level: str = ""
    heading: str = ""
    has_image: bool = False
    badge: int | None = None
    notes: tuple[str, ...] = ()


def picture(payload: dict[str, Any], push_type: str, app_name: str) -> Picture:
    """What is seen of a payload, which may be wrong still: what can't be read is left out."""
    if push_type in _UNSEEN:
        return Picture(seen=False, notes=(_UNSEEN[push_type],))
    aps = payload.get("aps")
    aps = aps if isinstance(aps, dict) else {}
    alert, badge = aps.get("alert"), aps.get("badge")
    number = badge if isinstance(badge, int) and not isinstance(badge, bool) and badge > 0 else None
    title, subtitle, body = _words(alert)
    if not (title or subtitle or body):
        return Picture(seen=False, badge=number, notes=(_NO_ALERT, *_badge_note(badge)))
    level = aps.get("interruption-level")
    level = level if isinstance(level, str) and level in _LEVELS else ""
    data = payload.get("data")
    changed = aps.get("mutable-content") == 1
    has_image = changed and isinstance(data, dict) and bool(data.get("media-url"))
    notes = [_LEVELS[level]] if level else []
    if push_type == "liveactivity":
        notes.append("The activity itself is drawn by the app; this is its alert.")
    if has_image:
        notes.append("The image is fetched by the app's notification extension, if it has one.")
    elif changed:
        notes.append("The app's notification extension may change it before it is shown.")
    if _is_long(body):
        notes.append("The body is cut after four lines or so; the rest is seen when it is opened.")
    notes += _badge_note(badge)
    if "sound" not in aps and level != "passive":
        notes.append("It makes no sound.")
    return Picture(
        seen=True,
        title=title or app_name,
        subtitle=subtitle,
        body=body,
        level=level,
        heading="Time Sensitive" if level == "time-sensitive" else "",
        has_image=has_image,
        badge=number,
        notes=tuple(notes),
    )


def _badge_note(badge: Any) -> tuple[str, ...]:
    return ("The number at the app's icon goes away.",) if badge == 0 and badge is not False else ()


def _words(alert: Any) -> tuple[str, str, str]:
    """(title, subtitle, body)."""
    if isinstance(alert, str):
        return "", "", _clean(alert)
    if not isinstance(alert, dict):
        return "", "", ""
    return (
        _word(alert, "title", "title-loc-key"),
        _word(alert, "subtitle", "subtitle-loc-key"),
        _word(alert, "body", "loc-key"),
    )


def _word(alert: dict[str, Any], name: str, key: str) -> str:
    value, in_table = alert.get(name), alert.get(key)
    if isinstance(value, dict):  # of a Live Activity: each text has a key of its own
        in_table = value.get("loc-key")
    if isinstance(in_table, str) and in_table:
        return f"‹{_clean(in_table)}›"
    return _clean(value) if isinstance(value, str) else ""


def _clean(text: str) -> str:
    """Text that can be encoded: JSON may hold halves of characters."""
    return text.encode("utf-8", "replace").decode()


def _is_long(body: str) -> bool:
    lines = body.split("\n")
    return sum(1 + max(0, len(line) - 1) // _ABOUT_A_LINE for line in lines) > _LINES
