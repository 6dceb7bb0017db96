"""Checks of the settings and the files that they name: existence, and permissions where they hold secrets."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from relay.cli.doctor.findings import Finding, bad, good, warning
from relay.keys import KeyRing, key_ring
from relay.settings import Settings, SettingsError

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def check_settings(settings: Settings, path: Path | None) -> Iterator[Finding]:
    """Check the origin of the settings, their permissions, and the files of certificate authorities."""
    keys = settings.keys
    holds_secrets = bool(keys.identifiers or keys.credentials or keys.udid or "@" in settings.database.url)
    origin = f"read from {path}" if path else "no file; defaults and variables of the environment"
    if path is not None and holds_secrets and _is_open(path):
        yield warning("settings", f"{path} holds secrets and others may read it: chmod 600 {path}")
    else:
        yield good("settings", origin, file=None if path is None else str(path))
    apns, channels = settings.apns, settings.channels
    places = (apns.production, apns.sandbox, channels.production, channels.sandbox, settings.webhooks)
    for file in sorted({place.ca_file for place in places if place.ca_file}):
        if not Path(file).is_file():
            yield bad("settings", f"the authorities to trust are not there: {file}", file=file)


def check_keys(settings: Settings) -> tuple[KeyRing | None, Finding]:
    """Return the keys if they can be used, and the finding about them."""
    in_settings = bool(settings.keys.identifiers)
    path = Path(settings.keys.file)
    if not in_settings and not path.exists():
        text = f"{path} is not there: serve makes it at its first start. Was there one? Then bring back the backup"
        return None, bad("keys", text, file=str(path))
    try:
        ring = key_ring(settings.keys, make=False)
    except SettingsError as error:
        return None, bad("keys", str(error), file=str(path))
    if in_settings:
        return ring, good("keys", "given in the settings")
    if _is_open(path):
        return ring, bad("keys", f"others may read {path}: chmod 600 {path}", file=str(path))
    return ring, good("keys", f"read from {path}, which nobody else may read", file=str(path))


def _is_open(path: Path) -> bool:
    """Return whether others than the owner have any right to the file."""
    return bool(path.stat().st_mode & _OTHERS)
