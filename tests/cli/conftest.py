"""The command line on the settings and the database of a test, as an operator runs it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from relay.cli.main import app
from tests.api.conftest import front  # noqa: F401
from tests.api.front import KEYS

Command = Callable[..., Coroutine[Any, Any, Result]]


@pytest.fixture
def command(database_url: str, tmp_path: Path) -> Command:
    """Return a function that runs a command in a thread. `credentials` are its encryption keys, `text` its input."""

    async def run(*arguments: str, text: str = "", credentials: Sequence[str] = KEYS) -> Result:
        keys = {
            "credentials": [*credentials],
            "identifiers": [*KEYS],
            "installations": [*KEYS],
            "udid": KEYS[0],
        }
        file = tmp_path / "keys.yaml"
        file.write_text(yaml.safe_dump(keys))
        environ = {
            "PUSH_RELAY_DATABASE__URL": database_url,
            "PUSH_RELAY_KEYS__FILE": str(file),
            "COLUMNS": "250",
        }
        return await asyncio.to_thread(
            lambda: CliRunner().invoke(app, list(arguments), env=environ, input=text)
        )

    return run
