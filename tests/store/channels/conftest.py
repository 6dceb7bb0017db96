"""The channels that tests work on."""

from __future__ import annotations

import pytest

from relay.store.database import Database
from tests.store.channels.stored_channels import StoredChannels


@pytest.fixture
def stored(database: Database) -> StoredChannels:
    return StoredChannels(database)
