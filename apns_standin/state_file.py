"""The state that outlives a restart, as one JSON file: the authority, keys, topics, device tokens and channels.

Written to a neighbour and renamed, so that a reader sees the old file or the new one. Changes that come
close together are written once. The file holds the authority's private key, so it is readable by its owner
only.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from .channels import StandInChannel
from .errors import StateFileError
from .registry import Snapshot

_log = logging.getLogger(__name__)


class StandInState(msgspec.Struct, frozen=True):
    """The content of the file. `ca_certificate` and `ca_key` are PEM."""

    ca_certificate: str
    ca_key: str
    registry: Snapshot
    channels: list[StandInChannel] = []
    version: Literal[1] = 1


def load(path: Path) -> StandInState | None:
    """The stored state; None when there is no file yet. Raises StateFileError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=StandInState)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateFileError(f"cannot read {path}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise StateFileError(f"{path} is not a state file of the APNs stand-in: {error}") from error


def write_file(path: Path, data: bytes, mode: int) -> None:
    """Replace a file in one step. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    neighbour = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        descriptor = os.open(neighbour, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        neighbour.replace(path)
    finally:
        neighbour.unlink(missing_ok=True)


class StateFile:
    """Keeps a file up to date with `current()`.

    `delay_seconds` is how long changes are gathered. It grows with the time a write takes, so that a large
    state is not written all the time.
    """

    def __init__(self, path: Path, current: Callable[[], StandInState], delay_seconds: float = 0.1) -> None:
        self._path = path
        self._current = current
        self._delay = delay_seconds
        self._task: asyncio.Task[None] | None = None
        self._changed = False

    def changed(self) -> None:
        """Something changed; it will be written soon."""
        self._changed = True
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._write_soon())

    async def flush(self) -> None:
        """Write what is not written yet, now."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._changed:
            await self._write()

    async def _write_soon(self) -> None:
        try:
            delay = self._delay
            while self._changed:
                await asyncio.sleep(delay)
                delay = max(self._delay, 10 * await self._write())
        finally:
            self._task = None

    async def _write(self) -> float:
        """Write the state; returns the seconds it took."""
        begin = time.monotonic()
        self._changed = False
        data = msgspec.json.encode(self._current())
        try:
            # Shielded, so that a cancelled writer has not left the file half done when the next one begins.
            await asyncio.shield(asyncio.to_thread(write_file, self._path, data, 0o600))
        except asyncio.CancelledError:
            self._changed = True
            raise
        except OSError as error:
            # The stand-in is of use without it; the next change tries again.
            _log.error("cannot write %s: %s", self._path, error.strerror)
        return time.monotonic() - begin
