"""The secret keys of a relay: from the settings, or from a key file that the first start creates."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import msgspec
import yaml

from relay.settings import KeysSettings, SettingsError, read_yaml_file, without_values


class KeyRing(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The secret keys in use: see `KeysSettings` for their order."""

    identifiers: tuple[str, ...]
    installations: tuple[str, ...]
    credentials: tuple[str, ...]
    udid: str
    alias: str = ""

    def __repr__(self) -> str:
        return "KeyRing(…)"

    @property
    def of_aliases(self) -> str:
        """The key of the digests of e-mail addresses. The digests contain their purpose, so `udid` can serve too."""
        return self.alias or self.udid

    def __post_init__(self) -> None:
        for name in ("identifiers", "installations", "credentials"):
            if not getattr(self, name):
                raise ValueError(f"keys.{name} needs at least one key")
        for key in (*self.identifiers, *self.installations, *self.credentials, self.udid, self.of_aliases):
            if len(key) < 32:
                raise ValueError("every key needs at least 32 characters: openssl rand -hex 32")


def key_ring(keys: KeysSettings, *, make: bool = True) -> KeyRing:
    """Return the keys of the settings or, if none are set, of the key file.

    With `make`, a missing file is created.

    Raises:
        SettingsError: the keys cannot be read, are malformed, or the file is missing and may not be created.
    """
    given = {
        name: getattr(keys, name)
        for name in ("identifiers", "installations", "credentials", "udid", "alias")
        if getattr(keys, name)
    }
    try:
        if given:
            return msgspec.convert(given, KeyRing)
        path = Path(keys.file)
        if make and not path.exists():
            _make_key_file(path)
        return msgspec.convert(read_yaml_file(path), KeyRing)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{'keys' if given else keys.file}: {without_values(error)}") from None
    except OSError as error:
        raise SettingsError(f"cannot make the key file {keys.file}: {error.strerror}") from None


def _make_key_file(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    keys = {
        "identifiers": [secrets.token_hex(32)],
        "installations": [secrets.token_hex(32)],
        "credentials": [secrets.token_hex(32)],
        "udid": secrets.token_hex(32),
        "alias": secrets.token_hex(32),
    }
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(
            "# The relay's secret keys, oldest to newest. Losing this file loses every identifier: back it up.\n"
        )
        yaml.safe_dump(keys, file)
