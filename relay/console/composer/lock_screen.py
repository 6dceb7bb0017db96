"""The lock screen that the composer draws for a payload.

After Apple, "Generating a remote notification", and the behaviour of iOS 18: a title and a subtitle of one line each, a
body of up to four lines, and an image beside them. Where a text comes from the app's own tables, its key is shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_LINE_CHARACTERS = 40
"""Approximate characters of a line on a common phone. It decides about a note only: the drawing cuts text by itself."""
_MAX_BODY_LINES = 4
_INVISIBLE_TYPES = {
    "background": "Nothing is shown: the app wakes up briefly to fetch data.",
    "voip": "This is not shown: the app itself shows a call.",
    "complication": "Nothing is shown on the lock screen: the app updates its watch complication.",
    "fileprovider": "Nothing is shown: the file provider looks for changes.",
    "mdm": "Nothing is shown: the device asks its management server for commands.",
    "location": "Nothing is shown: the app's location extension is asked for the device's location.",
    "pushtotalk": "This is not shown: the app joins a conversation.",
    "widgets": "This is not shown: the app's widgets are redrawn.",
    "controls": "This is not shown: the app's controls are redrawn.",
}
"""Push types that show nothing, with a note on their effect."""
_NO_ALERT = "Nothing is shown: the payload has no alert."
_LEVEL_NOTES = {
    "passive": "It is added to the notification list silently; the screen stays dark.",
    "time-sensitive": "It is shown at once, and breaks through Focus if the app is allowed to.",
    "critical": "It sounds even when the device is muted, if Apple allows the app critical alerts.",
}
_LEVEL_HEADINGS = {"time-sensitive": "Time Sensitive"}
"""The line that iOS writes above the title."""


@dataclass(frozen=True, slots=True)
class LockScreen:
    """A notification on a lock screen. If `is_visible` is False, `notes` say why nothing is shown.

    `heading` is the line that iOS writes above the title for some levels. `badge` is the number on the app's icon, or
    None.
    """

    is_visible: bool
    title: str = ""
    subtitle: str = ""
    body: str = ""
    level: str = ""
    heading: str = ""
    has_image: bool = False
    badge: int | None = None
    notes: tuple[str, ...] = ()


def draw_lock_screen(payload: dict[str, Any], push_type: str, app_name: str) -> LockScreen:
    """Return the lock screen for a payload. The payload may be invalid: unreadable parts are left out."""
    if push_type in _INVISIBLE_TYPES:
        return LockScreen(is_visible=False, notes=(_INVISIBLE_TYPES[push_type],))
    aps = payload.get("aps")
    aps = aps if isinstance(aps, dict) else {}
    badge = aps.get("badge")
    badge_number = badge if isinstance(badge, int) and not isinstance(badge, bool) and badge > 0 else None
    title, subtitle, body = _alert_texts(aps.get("alert"))
    if not (title or subtitle or body):
        return LockScreen(is_visible=False, badge=badge_number, notes=(_NO_ALERT, *_badge_notes(badge)))
    level = aps.get("interruption-level")
    level = level if isinstance(level, str) and level in _LEVEL_NOTES else ""
    data = payload.get("data")
    is_mutable = aps.get("mutable-content") == 1
    has_image = is_mutable and isinstance(data, dict) and bool(data.get("media-url"))
    notes = [_LEVEL_NOTES[level]] if level else []
    if push_type == "liveactivity":
        notes.append("The app draws the activity itself; this is its alert.")
    if has_image:
        notes.append("The app's notification extension fetches the image, if the app has one.")
    elif is_mutable:
        notes.append("The app's notification extension may change it before it is shown.")
    if _exceeds_lines(body):
        notes.append("The body is cut after about four lines; opening the notification shows the rest.")
    notes += _badge_notes(badge)
    if "sound" not in aps and level != "passive":
        notes.append("It makes no sound.")
    return LockScreen(
        is_visible=True,
        title=title or app_name,
        subtitle=subtitle,
        body=body,
        level=level,
        heading=_LEVEL_HEADINGS.get(level, ""),
        has_image=has_image,
        badge=badge_number,
        notes=tuple(notes),
    )


def _badge_notes(badge: Any) -> tuple[str, ...]:
    return ("The number on the app's icon is removed.",) if badge == 0 and badge is not False else ()


def _alert_texts(alert: Any) -> tuple[str, str, str]:
    """Return (title, subtitle, body)."""
    if isinstance(alert, str):
        return "", "", _replace_surrogates(alert)
    if not isinstance(alert, dict):
        return "", "", ""
    return (
        _alert_text(alert, "title", "title-loc-key"),
        _alert_text(alert, "subtitle", "subtitle-loc-key"),
        _alert_text(alert, "body", "loc-key"),
    )


def _alert_text(alert: dict[str, Any], name: str, key_name: str) -> str:
    value, key = alert.get(name), alert.get(key_name)
    if isinstance(value, dict):  # in a Live Activity each text holds its own key
        key = value.get("loc-key")
    if isinstance(key, str) and key:
        return f"‹{_replace_surrogates(key)}›"
    return _replace_surrogates(value) if isinstance(value, str) else ""


def _replace_surrogates(text: str) -> str:
    """Return text that can be encoded: JSON may hold halves of surrogate pairs."""
    return text.encode("utf-8", "replace").decode()


def _exceeds_lines(body: str) -> bool:
    lines = body.split("\n")
    return sum(1 + max(0, len(line) - 1) // _LINE_CHARACTERS for line in lines) > _MAX_BODY_LINES
