"""Bulk import of installations: NDJSON in, install_ tokens out.

Every line is the body of a bulk enrolment: {"installation_uuid", "app_id", "customer", "udid", …}. A thousand
lines go in one request. A request with bad lines is refused as a whole, so they are reported by number, taken
out, and the rest is sent again. Enrolling is idempotent: an import that broke off is simply run again.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TextIO

import msgspec

from relay.cli.operator_client import AdminClient, AdminError
from relay.core import strict_json
from relay.core.errors import MalformedBody

LINES_A_REQUEST = 1000
LONGEST_LINE = 64 * 1024
ATTEMPTS = 6
"""How often a request is sent that the relay cannot take: enrolling twice does no harm."""
_INDEX = re.compile(r"/installations/(\d+)(/.*)?")


class Line(NamedTuple):
    """A line of the file: its number from 1, its size in bytes, its value."""

    number: int
    size: int
    value: Any


class BadLine(NamedTuple):
    """A line that cannot be imported, and why."""

    number: int
    why: str


class Importer:
    """One import. `report` is told of bad lines, `advance` how many bytes of the file are done."""

    def __init__(
        self,
        client: AdminClient,
        out: TextIO | None,
        report: Callable[[BadLine], None],
        advance: Callable[[int], None],
    ) -> None:
        self._client = client
        self._out = out
        self._report = report
        self._advance = advance
        self.imported = 0
        self.bad = 0

    async def run(self, lines: Iterable[bytes]) -> None:
        """Import all lines. Raises AdminError when the relay refuses for another reason than a bad line."""
        waiting: deque[Line] = deque()
        for number, text in enumerate(lines, start=1):
            if text.strip():
                self._parse(number, text, waiting)
            else:
                self._advance(len(text))
            if len(waiting) >= LINES_A_REQUEST:
                await self._send(waiting)
        while waiting:
            await self._send(waiting)

    def _parse(self, number: int, text: bytes, waiting: deque[Line]) -> None:
        if len(text) > LONGEST_LINE:
            self._bad(Line(number, len(text), None), f"The line is longer than {LONGEST_LINE} bytes.")
            return
        try:
            waiting.append(Line(number, len(text), strict_json.decode(text)))
        except MalformedBody as error:
            self._bad(Line(number, len(text), None), error.detail.replace("body", "line"))

    async def _send(self, waiting: deque[Line]) -> None:
        """Send the lines that wait, until none of these is left but those put back."""
        lines = [waiting.popleft() for _ in range(min(len(waiting), LINES_A_REQUEST))]
        while lines:
            body = {"installations": [line.value for line in lines]}
            try:
                answer = await self._client.call("POST", "operator/installations/", body, attempts=ATTEMPTS)
            except AdminError as error:
                lines = self._without_refused(lines, error, waiting)
            else:
                self._done(lines, answer["installations"])
                return

    def _without_refused(self, lines: list[Line], error: AdminError, waiting: deque[Line]) -> list[Line]:
        """What is left to send after a refusal."""
        refused: dict[int, str] = {}
        cut = len(lines)
        for fault in error.refusals:
            match = _INDEX.fullmatch(fault.pointer)
            if match is None:
                raise error
            index = int(match[1])
            if fault.code == "duplicate":
                # Lines that contradict earlier ones come later in time: they go into a request of their own.
                cut = min(cut, index)
            else:
                refused.setdefault(index, f"{(match[2] or '').lstrip('/') or 'line'}: {fault.detail}")
        if not refused and cut == len(lines):
            raise error
        waiting.extendleft(reversed(lines[cut:]))
        for index, why in sorted(refused.items()):
            if index < cut:
                self._bad(lines[index], why)
        return [line for index, line in enumerate(lines[:cut]) if index not in refused]

    def _bad(self, line: Line, why: str) -> None:
        self.bad += 1
        self._report(BadLine(line.number, why))
        self._advance(line.size)

    def _done(self, lines: list[Line], enrolled: list[dict[str, str]]) -> None:
        if self._out is not None:
            for one in enrolled:
                self._out.write(msgspec.json.encode(one).decode() + "\n")
            self._out.flush()
        self.imported += len(lines)
        self._advance(sum(line.size for line in lines))
