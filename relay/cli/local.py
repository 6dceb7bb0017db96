"""What the commands share that are run where the settings are: these, and the database that they name."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
import uvloop

from relay import settings as config
from relay.core.errors import Unavailable
from relay.telemetry.logs import log_to_stderr

if TYPE_CHECKING:
    from relay.store.database import Database

T = TypeVar("T")

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", envvar="PUSH_RELAY_CONFIG", help="Settings (YAML).", dir_okay=False, exists=True
    ),
]
HERE = "On the relay's machine: settings and database"
"""The part of the help in which these commands are listed."""


def load_settings(config_file: Path | None, *, log: str | None = None) -> config.Settings:
    """The settings, and logging as they say (`log`: another level). Raises SettingsError."""
    settings = config.load(config_file, os.environ)
    log_to_stderr(log or settings.log, settings.log_format)
    return settings


def with_database(config_file: Path | None, work: Callable[[config.Settings, Database], Awaitable[T]]) -> T:
    """Do `work` with the database of the settings, beside relays that run. Nothing is made that is not there yet.

    Raises SettingsError, and Unavailable without a database.
    """
    settings = load_settings(config_file, log="warning")

    async def session() -> T:
        from relay.node.database import open_database

        require_database(settings)
        async with AsyncExitStack() as stack:
            return await work(settings, await open_database(settings, stack))

    return uvloop.run(session())


def require_database(settings: config.Settings) -> None:
    """Raise Unavailable if the embedded database was never started: opening it would make an empty one."""
    if not settings.database.url and not (Path(settings.database.embedded) / "PG_VERSION").exists():
        raise Unavailable(
            f"There is no database in {settings.database.embedded} yet: push-relay serve makes it."
        )
