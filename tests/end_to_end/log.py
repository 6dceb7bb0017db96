"""Log records of the relay, as JSON lines."""

from __future__ import annotations

import json
import logging
from typing import Any

from relay.telemetry.logs import formatter
from tests.eventually import eventually


class Log(logging.Handler):
    """The log as a file would have it: one line of JSON after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(formatter("json", colors=False))
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("relay."):
            self.lines.append(self.format(record))

    def grep(self, text: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines if text in line]

    async def until(self, text: str, event: str) -> list[dict[str, Any]]:
        """Return the lines that contain `text`, once one of them has the event `event`."""

        def lines_with_event() -> list[dict[str, Any]]:
            lines = self.grep(text)
            assert event in [line["event"] for line in lines]
            return lines

        return await eventually(lines_with_event)
