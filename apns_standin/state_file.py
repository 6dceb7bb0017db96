"""State file: the authority, keys, topics, device tokens and channels as JSON, kept over a restart.

A new version is written beside the file and renamed, so that a reader sees the old or the new version. Changes within
a short time are written once. The file holds the authority's private key: only its owner can read it.
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


class StoredState(msgspec.Struct, frozen=True):
    """Content of the file. `ca_certificate` and `ca_key` are PEM."""

    ca_certificate: str
    ca_key: str
    registry: Snapshot
    channels: list[StandInChannel] = []
    version: Literal[1] = 1


def load(path: Path) -> StoredState | None:
    """Return the stored state; None if there is no file. Raises StateFileError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=StoredState)
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
    """A file that follows the state which `current()` returns.

    `delay_seconds` is the time in which changes are collected. It grows with the duration of a write, so that a large
    state is not written continuously.
    """

    def __init__(self, path: Path, current: Callable[[], StoredState], delay_seconds: float = 0.1) -> None:
        self._path = path
        self._current = current
        self._delay = delay_seconds
        self._task: asyncio.Task[None] | None = None
        self._changed = False

    def mark_changed(self) -> None:
        """Schedule a write of the state."""
        self._changed = True
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._write_soon())

    async def flush(self) -> None:
        """Write unwritten changes now."""
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
        """Write the state and return the duration in seconds."""
        begin = time.monotonic()
        self._changed = False
        data = msgspec.json.encode(self._current())
        try:
            # Shielded: a cancelled write must end before the next write of `flush` begins.
            await asyncio.shield(asyncio.to_thread(write_file, self._path, data, 0o600))
        except asyncio.CancelledError:
            self._changed = True
            raise
        except OSError as error:
            # The stand-in works without the file. The next change retries.
            _log.error("cannot write %s: %s", self._path, error.strerror)
        return time.monotonic() - begin
