"""The bulk import of installations: NDJSON in, install_ tokens out.

Each line is an item of a bulk enrolment: {"installation_uuid", "app_id", "customer", "udid", …}. A request holds up to
1000 lines. The relay refuses a request with bad lines as a whole, so these are reported by number and removed, and the
rest is sent again. Enrolling is idempotent: an import that stopped midway may be run again.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TextIO

import msgspec

from relay.cli.operator_client import OperatorClient, OperatorError
from relay.core import strict_json
from relay.core.errors import MalformedBody

MAX_REQUEST_LINES = 1000
MAX_LINE_BYTES = 64 * 1024
MAX_ATTEMPTS = 6
"""Attempts of a request that the relay cannot take. Enrolling twice is harmless."""
_INDEX = re.compile(r"/installations/(\d+)(/.*)?")


class ImportLine(NamedTuple):
    """A line of the file: its number from 1, its size in bytes, its value."""

    number: int
    size: int
    value: Any


class BadLine(NamedTuple):
    """A line that cannot be imported, with the reason."""

    number: int
    reason: str


class Importer:
    """One import. `report` is called for each bad line, `advance` with the bytes of the file that are done."""

    def __init__(
        self,
        client: OperatorClient,
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
        """Import all lines.

        Raises:
            OperatorError: the relay refused a request for another reason than a bad line.
        """
        waiting: deque[ImportLine] = deque()
        for number, text in enumerate(lines, start=1):
            if text.strip():
                self._parse(number, text, waiting)
            else:
                self._advance(len(text))
            if len(waiting) >= MAX_REQUEST_LINES:
                await self._send(waiting)
        while waiting:
            await self._send(waiting)

    def _parse(self, number: int, text: bytes, waiting: deque[ImportLine]) -> None:
        if len(text) > MAX_LINE_BYTES:
            self._report_bad(
                ImportLine(number, len(text), None), f"The line is longer than {MAX_LINE_BYTES} bytes."
            )
            return
        try:
            waiting.append(ImportLine(number, len(text), strict_json.decode(text)))
        except MalformedBody as error:
            self._report_bad(ImportLine(number, len(text), None), error.detail.replace("body", "line"))

    async def _send(self, waiting: deque[ImportLine]) -> None:
        """Send the next lines of `waiting`, again without those that the relay refuses, until it accepts them."""
        lines = [waiting.popleft() for _ in range(min(len(waiting), MAX_REQUEST_LINES))]
        while lines:
            body = {"installations": [line.value for line in lines]}
            try:
                answer = await self._client.call(
                    "POST", "operator/installations/", body, attempts=MAX_ATTEMPTS
                )
            except OperatorError as error:
                lines = self._without_refused(lines, error, waiting)
            else:
                self._record_enrolled(lines, answer["installations"])
                return

    def _without_refused(
        self, lines: list[ImportLine], error: OperatorError, waiting: deque[ImportLine]
    ) -> list[ImportLine]:
        """Report the refused lines, and return those to send again."""
        refused: dict[int, str] = {}
        cut = len(lines)
        for problem in error.problems:
            match = _INDEX.fullmatch(problem.pointer)
            if match is None:
                raise error
            index = int(match[1])
            if problem.code == "duplicate":
                # A line that contradicts an earlier one is newer, so it goes into the next request.
                cut = min(cut, index)
            else:
                refused.setdefault(index, f"{(match[2] or '').lstrip('/') or 'line'}: {problem.detail}")
        if not refused and cut == len(lines):
            raise error
        waiting.extendleft(reversed(lines[cut:]))
        for index, reason in sorted(refused.items()):
            if index < cut:
                self._report_bad(lines[index], reason)
        return [line for index, line in enumerate(lines[:cut]) if index not in refused]

    def _report_bad(self, line: ImportLine, reason: str) -> None:
        self.bad += 1
        self._report(BadLine(line.number, reason))
        self._advance(line.size)

    def _record_enrolled(self, lines: list[ImportLine], enrolled: list[dict[str, str]]) -> None:
        if self._out is not None:
            for installation in enrolled:
                self._out.write(msgspec.json.encode(installation).decode() + "\n")
            self._out.flush()
        self.imported += len(lines)
        self._advance(sum(line.size for line in lines))
