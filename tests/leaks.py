"""Whether a secret of the suite is in a log line or in an answer.

Every log record and every answer of the tests' clients is searched, as it comes, for words that have the form of a
secret; which of them are secrets is known at the end. Secrets are noted where they are sent to the relay or issued by
it. A text without a form of its own (a customer's reference, the text of a push) is found if it says `secret-…`.
"""

from __future__ import annotations

import ast
import json
import logging
import os
import re
from types import SimpleNamespace
from typing import Any

import aiohttp

SECRET_FIELDS = ("udid", "device_token", "p8", "certificate", "customer", "alias", "payload", "notification")
"""What a caller sends and the relay keeps to itself, but for the payload in the trace and in a validation."""
_ISSUED = re.compile(r'"(?:token|manage_token|install_token|secret)": ?"([^"]+)"')
_FORMS = re.compile(
    r"(?:push|manage|operator)_[A-Za-z0-9_-]{48}"
    r"|install_[A-Za-z0-9_-]{34,}\.[A-Za-z0-9_-]{43}"
    r"|whsec_[A-Za-z0-9+/]{43}="
    r"|[0-9A-Fa-f]{8}-[0-9A-Fa-f]{16}(?![0-9A-Fa-f])"
    r"|[0-9A-Fa-f]{16,}"
    r"|secret-[a-z0-9-]+"
)
"""API tokens, install tokens, secrets of webhooks, UDIDs, device tokens and keys, and texts that say so."""
_PEM = re.compile(r"[A-Za-z0-9+/]{60,}")
_BYTES = re.compile(r"""\bb'(?:[^'\\]|\\.)*'|\bb"(?:[^"\\]|\\.)*\"""")
_PEM_WORD = 40


def words(text: str) -> set[str]:
    """Everything in the text that has the form of a secret."""
    found: set[str] = set()
    for word in _FORMS.findall(text):
        found.add(word if "_" in word else word.lower())
    for line in _PEM.findall(text):
        found |= {
            line[:_PEM_WORD],
            line[1 : _PEM_WORD + 1],
        }  # in JSON the letter n of the line's end stands before it
    for shown in _BYTES.findall(text):
        try:
            found |= words(ast.literal_eval(shown).hex())
        except (SyntaxError, ValueError):
            continue
    return found


class Leaks(logging.Handler):
    """Put it on the root logger, and `tracing()` into the clients; then ask `found()`."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._secrets: dict[str, str] = {}
        self._seen: dict[str, str] = {}

    def found(self) -> list[str]:
        """What was found, and where; without the secrets themselves."""
        leaked = self._seen.keys() & self._secrets.keys()
        return sorted({f"{self._secrets[word]} in {self._seen[word]}" for word in leaked})

    @property
    def known(self) -> int:
        """How many secrets are known: to see that it looks for some."""
        return len(self._secrets)

    def note(self, kind: str, text: str) -> None:
        """Whatever in the text has the form of a secret is one."""
        for word in words(text):
            self._secrets.setdefault(word, kind)

    def search(self, text: str, where: str) -> None:
        """A text that must not hold a secret."""
        test = os.environ.get("PYTEST_CURRENT_TEST", "no test")
        for word in words(text):
            self._seen.setdefault(word, f"{where}, during {test}")

    def emit(self, record: logging.LogRecord) -> None:
        """A line of a log, with its traceback."""
        self.search(self.format(record), f"the log of {record.name} at {record.pathname}:{record.lineno}")

    # --- the traffic of a client ---

    def tracing(self) -> aiohttp.TraceConfig:
        """What a client session must be given so that its requests and answers are seen."""
        tracing = aiohttp.TraceConfig()
        tracing.on_request_chunk_sent.append(self._request)
        tracing.on_request_end.append(self._head)
        tracing.on_response_chunk_received.append(self._answer)
        return tracing

    async def _request(self, _: Any, __: Any, sent: aiohttp.TraceRequestChunkSentParams) -> None:
        try:
            body = json.loads(sent.chunk)
        except (ValueError, RecursionError):
            return
        items = body.get("installations", [body]) if isinstance(body, dict) else []
        for item in items if isinstance(items, list) else []:
            for name in SECRET_FIELDS:
                if isinstance(item, dict) and name in item:
                    value = item[name]
                    self.note(name, value if isinstance(value, str) else json.dumps(value))

    async def _head(self, _: Any, context: SimpleNamespace, end: aiohttp.TraceRequestEndParams) -> None:
        context.status = end.response.status
        where = f"{end.method} {end.url.path}: {end.response.status}"
        self.search("\n".join(end.response.headers.values()), f"the headers of {where}")

    async def _answer(
        self, _: Any, context: SimpleNamespace, got: aiohttp.TraceResponseChunkReceivedParams
    ) -> None:
        text = got.chunk.decode(errors="replace")
        if got.method in ("POST", "PUT") and context.status in (200, 201):
            self.note("a token", " ".join(_ISSUED.findall(text)))
            text = _ISSUED.sub("", text)
        if got.url.path.rstrip("/").endswith(("/trace", "/validate")) and context.status == 200:
            text = text.replace("secret-text", "")  # its owner may see the payload
        self.search(text, f"the answer to {got.method} {got.url.path}: {context.status}")


LEAKS = Leaks()
"""The one of the whole run."""
