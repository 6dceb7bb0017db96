"""Search for secrets of the test suite in log lines and answers.

Every log record and every answer to the tests' clients is searched at once for words with the form of a secret. The end
of the run shows which of them are secrets: those that were sent to the relay or issued by it. A text without a special
form (a customer's reference, the text of a push) is recognized by the prefix `secret-`.
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
"""Fields of requests that no answer may contain, except the payload in a trace or a validation."""
_ISSUED = re.compile(r'"(?:token|manage_token|install_token|secret)": ?"([^"]+)"')
_FORMS = re.compile(
    r"(?:push|manage|operator)_[A-Za-z0-9_-]{48}"
    r"|install_[A-Za-z0-9_-]{34,}\.[A-Za-z0-9_-]{43}"
    r"|whsec_[A-Za-z0-9+/]{43}="
    r"|[0-9A-Fa-f]{8}-[0-9A-Fa-f]{16}(?![0-9A-Fa-f])"
    r"|[0-9A-Fa-f]{16,}"
    r"|secret-[a-z0-9-]+"
)
"""API tokens, install tokens, webhook secrets, UDIDs, device tokens and keys, and texts with the prefix `secret-`."""
_PEM = re.compile(r"[A-Za-z0-9+/]{60,}")
_BYTES = re.compile(r"""\bb'(?:[^'\\]|\\.)*'|\bb"(?:[^"\\]|\\.)*\"""")
_PEM_WORD = 40


def words(text: str) -> set[str]:
    """Return all words of the text that have the form of a secret."""
    secrets: set[str] = set()
    for word in _FORMS.findall(text):
        secrets.add(word if "_" in word else word.lower())
    for line in _PEM.findall(text):
        # In JSON, the letter n of the escaped line end precedes the line.
        secrets |= {line[:_PEM_WORD], line[1 : _PEM_WORD + 1]}
    for shown in _BYTES.findall(text):
        try:
            secrets |= words(ast.literal_eval(shown).hex())
        except (SyntaxError, ValueError):
            continue
    return secrets


class Leaks(logging.Handler):
    """A search for secrets: a handler for the root logger, and a trace configuration for clients."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._secrets: dict[str, str] = {}
        self._seen: dict[str, str] = {}

    def found(self) -> list[str]:
        """Return the kind and place of each leaked secret, without the secrets themselves."""
        leaked = self._seen.keys() & self._secrets.keys()
        return sorted({f"{self._secrets[word]} in {self._seen[word]}" for word in leaked})

    @property
    def known(self) -> int:
        """Return the number of known secrets: proves that the search has some."""
        return len(self._secrets)

    def note(self, kind: str, text: str) -> None:
        """Register every word of the text with the form of a secret as a secret of kind `kind`."""
        for word in words(text):
            self._secrets.setdefault(word, kind)

    def search(self, text: str, where: str) -> None:
        """Search a text that must not contain a secret."""
        test = os.environ.get("PYTEST_CURRENT_TEST", "no test")
        for word in words(text):
            self._seen.setdefault(word, f"{where}, during {test}")

    def emit(self, record: logging.LogRecord) -> None:
        """Search a log record, including its traceback."""
        self.search(self.format(record), f"the log of {record.name} at {record.pathname}:{record.lineno}")

    # --- the traffic of a client ---

    def tracing(self) -> aiohttp.TraceConfig:
        """Return the trace configuration with which a client session's requests and answers are searched."""
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
            text = text.replace("secret-text", "")  # the owner may see the payload
        self.search(text, f"the answer to {got.method} {got.url.path}: {context.status}")


LEAKS = Leaks()
"""The search of this test run."""
