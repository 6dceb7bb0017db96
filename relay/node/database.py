"""The database of a node: the PostgreSQL of `database.url`, or the embedded one."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from relay.settings import Settings
from relay.store.database import Database
from relay.store.embedded import EmbeddedPostgres


async def start_postgres(settings: Settings, stack: AsyncExitStack) -> str:
    """Return the URL of the database. Without `database.url`, start the embedded PostgreSQL; `stack` stops it."""
    if settings.database.url:
        return settings.database.url
    server = await asyncio.to_thread(EmbeddedPostgres, Path(settings.database.embedded))
    stack.callback(server.stop)
    return server.url()


async def open_database(settings: Settings, stack: AsyncExitStack) -> Database:
    """Open the database of `settings`, the embedded PostgreSQL included. `stack` closes both."""
    url = await start_postgres(settings, stack)
    database = await Database.connect(
        url,
        settings.database.connections,
        connect_timeout=settings.database.connect_timeout,
        statement_timeout=settings.database.statement_timeout,
    )
    stack.push_async_callback(database.close)
    return database
