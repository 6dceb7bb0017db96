"""The search for secrets as a part of every run of the tests."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from relay.telemetry.logs import quiet_libraries

from .leaks import LEAKS


def pytest_configure() -> None:
    # What the relay would log if it were told to log everything.
    logging.getLogger().addHandler(LEAKS)
    logging.getLogger().setLevel(logging.DEBUG)
    quiet_libraries()


@pytest.fixture(scope="session", autouse=True)
def no_leaks() -> Iterator[None]:
    """An error of the last test, so that it counts in each of several processes as well."""
    yield
    found = LEAKS.found()
    assert not found, "secrets in logs or answers:\n" + "\n".join(found)
