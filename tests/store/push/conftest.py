"""The queue that tests of pushes work on."""

from __future__ import annotations

import pytest

from relay.store.database import Database
from tests.store.push.batch_queue import BatchQueue


@pytest.fixture
def queue(database: Database) -> BatchQueue:
    return BatchQueue(database)
