"""The processes of a run: relay nodes, which are restarted, the stand-in, and the nodes' PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from apns_standin import ControlClient
from chaos.postgres import ChaosPostgres
from relay.node.clock import SystemClock
from relay.store.accounts.api_tokens import create_operator_token
from relay.store.database import Database
from relay.store.migrations import SchemaMigrator

_ROOT = Path(__file__).resolve().parent.parent
_HOST = "127.0.0.1"
_PORTS = range(20_000, 30_000)
"""Ports below those of outgoing connections, so that a process that ended can listen on its port again."""
_START_PATIENCE_SECONDS = 240.0
_POLL_SECONDS = 0.1
_STOP_PATIENCE_SECONDS = 60.0
LEASE_SECONDS = 10.0
MAX_IN_FLIGHT = 2_000
"""Installations that a node may hold unsettled. A kill may send their pushes twice."""
_DISPATCH = {
    "lease": LEASE_SECONDS,
    "in_flight": MAX_IN_FLIGHT,
    "batch_size": 250,
    "poll": 0.5,
    "retry_first": 1.0,
    "retry_longest": 8.0,
}
_MAX_RECEIPTS = 3_000_000


class Node:
    """A relay node: a process that is restarted whenever it ends, until `stop`."""

    def __init__(self, name: str, port: int, settings: Path, log: Path) -> None:
        self.name = name
        self.url = f"http://{_HOST}:{port}"
        self.kills = 0
        self.starts = 0
        self._settings = settings
        self._log = log
        self._process: Process | None = None
        self._stopping = False
        self._keeper = asyncio.create_task(self._keep())

    def kill(self) -> None:
        """Send SIGKILL to the process, if it runs."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            self.kills += 1

    async def stop(self) -> None:
        """Terminate the process, kill it after a grace period, and do not restart it."""
        self._stopping = True
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_STOP_PATIENCE_SECONDS):
                    await self._process.wait()
            if self._process.returncode is None:
                self._process.kill()
        await asyncio.gather(self._keeper, return_exceptions=True)

    async def _keep(self) -> None:
        command = ("-m", "relay", "serve", "--config", str(self._settings))
        while not self._stopping:
            with self._log.open("ab") as log:
                self._process = await _start(*command, log=log)
            self.starts += 1
            await self._process.wait()
            await asyncio.sleep(_POLL_SECONDS)


@dataclass
class Cluster:
    """All processes of a run, the clients of them, and a token with all rights."""

    postgres: ChaosPostgres
    nodes: Sequence[Node]
    apns: ControlClient
    http: aiohttp.ClientSession
    operator_token: str

    async def is_ready(self, node: Node) -> bool:
        """Return whether the node can accept pushes."""
        try:
            async with self.http.get(f"{node.url}/readyz", timeout=aiohttp.ClientTimeout(5)) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def until_ready(self, node: Node) -> None:
        """Wait until the node can accept pushes. Raises TimeoutError."""
        async with asyncio.timeout(_START_PATIENCE_SECONDS):
            while not await self.is_ready(node):
                await asyncio.sleep(_POLL_SECONDS)


@asynccontextmanager
async def cluster(directory: Path, nodes: int, chance: random.Random) -> AsyncIterator[Cluster]:
    """Run PostgreSQL, the stand-in and `nodes` nodes with their files in `directory`. All are ready."""
    directory.mkdir(parents=True, exist_ok=True)
    ports = _free_ports(3 + nodes, chance)
    postgres = await asyncio.to_thread(ChaosPostgres, directory / "postgres")
    try:
        token = await _operator_token(postgres.url())
        async with (
            aiohttp.ClientSession() as http,
            _stand_in(directory, ports[:3], chance.randrange(2**32)) as apns,
        ):
            running: list[Node] = []
            try:
                for number, port in enumerate(ports[3:], 1):
                    name = f"node-{number}"
                    settings = _write_settings(directory, name, port, ports, postgres.url())
                    running.append(Node(name, port, settings, directory / f"{name}.log"))
                    if number == 1:  # it creates the key file that all nodes share
                        await Cluster(postgres, running, apns, http, token).until_ready(running[0])
                complete = Cluster(postgres, running, apns, http, token)
                await asyncio.gather(*map(complete.until_ready, running))
                yield complete
            finally:
                await asyncio.gather(*(node.stop() for node in running))
    finally:
        await asyncio.to_thread(postgres.stop)


async def _operator_token(url: str) -> str:
    database = await Database.connect(url, 1)
    try:
        await SchemaMigrator(database).apply_migrations()
        return await create_operator_token(database, SystemClock(), secrets.token_bytes, "chaos")
    finally:
        await database.close()


@asynccontextmanager
async def _stand_in(directory: Path, ports: Sequence[int], seed: int) -> AsyncIterator[ControlClient]:
    names = ("production", "sandbox", "control")
    arguments = [
        text for name, port in zip(names, ports, strict=True) for text in (f"--{name}-port", str(port))
    ]
    arguments += ["--production-channels-port", "0", "--sandbox-channels-port", "0"]
    arguments += [
        "--ca-file",
        str(_ca_file(directory)),
        "--receipts",
        str(_MAX_RECEIPTS),
        "--seed",
        str(seed),
    ]
    with (directory / "apns.log").open("ab") as log:
        process = await _start("-m", "apns_standin", *arguments, log=log)
    try:
        async with ControlClient(f"http://{_HOST}:{ports[2]}") as control:
            async with asyncio.timeout(_START_PATIENCE_SECONDS):
                while not await _answers(control):
                    await asyncio.sleep(_POLL_SECONDS)
            yield control
    finally:
        process.kill()
        await process.wait()


async def _answers(control: ControlClient) -> bool:
    try:
        await control.statistics()
    except aiohttp.ClientError:
        return False
    return True


def _write_settings(directory: Path, name: str, port: int, ports: Sequence[int], database: str) -> Path:
    def apns(port: int) -> dict[str, Any]:
        return {"host": "localhost", "port": port, "ca_file": str(_ca_file(directory))}

    path = directory / f"{name}.yaml"
    path.touch(mode=0o600)
    settings = {
        "http": {"port": port},
        "database": {"url": database, "connections": 5},
        "keys": {"file": str(directory / "keys.yaml")},
        "apns": {"production": apns(ports[0]), "sandbox": apns(ports[1])},
        "dispatch": _DISPATCH,
        "log": "info",
    }
    path.write_text(yaml.safe_dump(settings))
    return path


def _ca_file(directory: Path) -> Path:
    return directory.resolve() / "apns-ca.pem"


async def _start(*arguments: str, log: Any) -> Process:
    # Byte code is cached in any case: programs start several times faster with it.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=log, stderr=log, cwd=_ROOT, env=environment
    )


def _free_ports(count: int, chance: random.Random) -> list[int]:
    free: list[int] = []
    for port in chance.sample(_PORTS, len(_PORTS)):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind((_HOST, port))
            free.append(port)
        if len(free) == count:
            return free
    raise OSError(
        f"There are not {count} free ports from {_PORTS.start} to {_PORTS.stop - 1}: end other programs."
    )
