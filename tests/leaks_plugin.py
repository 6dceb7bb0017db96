"""Plugin that searches every test run for leaked secrets."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from relay.telemetry.logs import quiet_libraries

from .leaks import LEAKS


def pytest_configure() -> None:
    # The relay logs at the most detailed level.
    logging.getLogger().addHandler(LEAKS)
    logging.getLogger().setLevel(logging.DEBUG)
    quiet_libraries()


@pytest.fixture(scope="session", autouse=True)
def no_leaks() -> Iterator[None]:
    """Fail the last test if a secret leaked. A failure of a test counts in every xdist process."""
    yield
    leaks = LEAKS.found()
    assert not leaks, "secrets in logs or answers:\n" + "\n".join(leaks)
