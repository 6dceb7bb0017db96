"""The clock of the machine."""

from __future__ import annotations

from datetime import UTC, datetime


class SystemClock:
    """The machine's clock, as a `relay.core.clock.Clock`."""

    def now(self) -> datetime:
        """Return the time in UTC."""
        return datetime.now(UTC)
