"""Fixtures of the endpoints' tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from relay.store.database import Database
from tests.api.front import Front, open_front


@pytest.fixture
async def front(database: Database) -> AsyncIterator[Front]:
    opened = await open_front(database)
    yield opened
    await opened.client.close()
