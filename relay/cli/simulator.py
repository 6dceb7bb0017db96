"""Pushes to iOS simulators without a relay: by `xcrun simctl push` on macOS, elsewhere as a file to drag.

A simulator has no device token that a relay could know. It runs the developer's own build, so the bundle identifier is
that of the Xcode project. The payload goes to simctl by its standard input; no shell is involved. Elsewhere it is
written as the .apns file that Simulator accepts by drag and drop; its key "Simulator Target Bundle" names the app
(Xcode 11.4 release notes).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from relay.client import Problem, Result
from relay.core.errors import Fault, Invalid
from relay.core.push import notification as notifications
from relay.core.push import payload as payloads
from relay.core.push.push_types import PUSH_TYPES

_BUNDLE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*(?:\.[A-Za-z0-9-]+)*")
"""An argument of a program must not begin with a hyphen."""


def find_xcrun() -> str | None:
    """Return the path of Xcode's xcrun, None without Xcode."""
    return shutil.which("xcrun") if sys.platform == "darwin" else None


class Simulators:
    """The simulators of this machine that run `bundle_id`.

    Files to drag are written to `directory`. `timeout` is the limit for one simulator, in seconds.

    Raises:
        ValueError: `bundle_id` is no bundle identifier.
    """

    def __init__(
        self, bundle_id: str, directory: Path = Path(), *, xcrun: str | None = None, timeout: float = 30.0
    ) -> None:
        if not _BUNDLE_ID.fullmatch(bundle_id):
            raise ValueError("A bundle identifier is letters, digits and hyphens in parts joined by periods.")
        self._bundle_id = bundle_id
        self._directory = directory
        self._xcrun = xcrun or find_xcrun()
        self._timeout = timeout

    async def push(self, simulators: Sequence[str], content: Mapping[str, Any]) -> Result:
        """Push to each simulator (a UDID, or "booted") what the relay would send.

        Without xcrun, write a file to drag; a warning names it.
        """
        try:
            payload, warnings = _checked(content)
        except Invalid as error:
            return Result(False, errors=_problems(error.faults))
        if self._xcrun is None:
            result = self._write(payload)
        else:
            result = await self._push_to_all(self._xcrun, simulators, payload)
        return replace(result, warnings=(*_problems(warnings), *result.warnings))

    async def _push_to_all(self, xcrun: str, simulators: Sequence[str], payload: bytes) -> Result:
        pushed = 0
        problems = []
        for simulator in dict.fromkeys(simulators):
            problem = await self._push(xcrun, simulator, payload)
            if problem is None:
                pushed += 1
            else:
                problems.append(problem)
        return Result(True, warnings=tuple(problems)) if pushed else Result(False, errors=tuple(problems))

    async def _push(self, xcrun: str, simulator: str, payload: bytes) -> Problem | None:
        """Push to one simulator. Returns the problem, or None."""
        try:
            process = await asyncio.create_subprocess_exec(
                xcrun,
                "simctl",
                "push",
                simulator,
                self._bundle_id,
                "-",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            return Problem("simulator", "/destinations", f"xcrun does not start: {error.strerror}.")
        try:
            async with asyncio.timeout(self._timeout):
                _, stderr = await process.communicate(payload)
        except TimeoutError:
            return Problem("simulator", "/destinations", f"{simulator}: simctl does not end.")
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode == 0:
            return None
        reason = " ".join(stderr.decode(errors="replace").split())[:300]
        return Problem(
            "simulator", "/destinations", f"{simulator}: simctl ends with {process.returncode}. {reason}"
        )

    def _write(self, payload: bytes) -> Result:
        """Write the file to drag, readable only by its owner. Equal pushes are written to one file."""
        document = {**json.loads(payload), "Simulator Target Bundle": self._bundle_id}
        name = f"{self._bundle_id}-{hashlib.sha256(payload).hexdigest()[:12]}.apns"
        path = (self._directory / name).absolute()
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(document, file, ensure_ascii=False, indent=2)
        except OSError as error:
            problem = Problem("simulator", "/destinations", f"{path}: {error.strerror}.")
            return Result(False, errors=(problem,))
        detail = f"There is no xcrun here. Drag {path} onto the simulator, on a Mac with Xcode 11.4 or newer."
        return Result(False, warnings=(Problem("simulator_file", "/destinations", detail),))


def _checked(content: Mapping[str, Any]) -> payloads.CheckedPayload:
    """Check the payload by the relay's rules for an alert. Raises Invalid."""
    if "notification" in content:
        return notifications.check_notification(content["notification"])
    return payloads.check_payload(content["payload"], PUSH_TYPES["alert"])


def _problems(faults: Sequence[Fault]) -> tuple[Problem, ...]:
    return tuple(Problem(*fault) for fault in faults)
