"""Fixtures of all tests: a real PostgreSQL, one database per test, and programs that some tests need."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import hypothesis
import pytest

from relay.store.database import Database
from relay.store.embedded import EmbeddedPostgres
from relay.store.migrations import SchemaMigrator

pytest_plugins = ["tests.leaks_plugin", "pytester"]
hypothesis.settings.register_profile("relay", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("relay")
_PREFERRED_PROGRAMS = {"chromium": "chromium-headless-shell"}
"""Programs to use instead, if installed: chromium without windows starts and draws several times faster."""
_EXTRA_PATHS = ("/usr/sbin", "/usr/local/go/bin")


def find_program(name: str) -> str | None:
    """Return the path of a program, or None. Directories of daemons are searched too."""
    path = os.pathsep.join([os.environ.get("PATH", ""), *_EXTRA_PATHS])
    return shutil.which(_PREFERRED_PROGRAMS.get(name, name), path=path) or shutil.which(name, path=path)


def pytest_configure() -> None:
    # Like Ctrl-C: fixtures are torn down, so that no server keeps running.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("needs"):
        for program in marker.args:
            if find_program(program) is None:
                pytest.skip(f"{program} is not installed")


def pytest_sessionfinish(session: pytest.Session) -> None:
    # CI installs every program first, so no test may be skipped there.
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _memory_folder() -> str | None:
    """Return a folder in memory if the machine has one: every test creates a database."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """Run one server for the session. It does not wait for its disk: no data outlives the run."""
    directory = Path(tempfile.mkdtemp(prefix="push-relay-tests-", dir=_memory_folder()))
    server = EmbeddedPostgres(directory / "postgres")

    async def prepare() -> None:
        connection = await asyncpg.connect(server.url())
        for setting in ("fsync = off", "synchronous_commit = off", "full_page_writes = off"):
            await connection.execute(f"ALTER SYSTEM SET {setting}")
        await connection.execute("SELECT pg_reload_conf()")
        await connection.execute("CREATE DATABASE template_relay")
        await connection.close()
        database = await Database.connect(server.url("template_relay"), 1)
        await SchemaMigrator(database).apply_migrations()
        await database.close()

    asyncio.run(prepare())
    yield server
    server.stop()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def template() -> str:
    """Return the template of a test's database: the current schema."""
    return "template_relay"


@pytest.fixture
async def database_url(postgres: EmbeddedPostgres, template: str) -> AsyncIterator[str]:
    """Create a database for the test and yield its URL."""
    name = f"test_{uuid4().hex}"
    connection = await asyncpg.connect(postgres.url())
    await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield postgres.url(name)
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.close()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = await Database.connect(database_url, 4, connect_timeout=60, statement_timeout=60)
    yield opened
    await opened.close()
