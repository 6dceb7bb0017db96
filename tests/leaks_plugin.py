"""The search for secrets as a part of every run of the tests."""

from __future__ import annotations

import logging

import pytest

from relay.logs import quiet_libraries

from .leaks import LEAKS


def pytest_configure() -> None:
    # What the relay would log if it were told to log everything.
    logging.getLogger().addHandler(LEAKS)
    logging.getLogger().setLevel(logging.DEBUG)
    quiet_libraries()


def pytest_sessionfinish(session: pytest.Session) -> None:
    if LEAKS.found():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if found := LEAKS.found():
        terminalreporter.section("secrets in logs or answers", sep="-")
        for line in found:
            terminalreporter.line(line)
