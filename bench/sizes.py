"""`python -m bench.sizes`: bytes that things take in PostgreSQL: on its disk, and of pushes in its log (WAL) too.

A fresh embedded PostgreSQL with its settings as shipped, a real relay, and the sink. The store is filled as for the
benchmarks, then pushes go over the API: to one device each, the same with an Idempotency-Key, and one to everybody.
Sizes are those of tables and indexes after VACUUM; a table that is filled over months has more air in it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import asyncpg
import psutil

from bench import machine
from bench.fan_out import broadcast
from bench.machine import SCRATCH
from bench.population import BenchApp
from bench.postgres import BenchPostgres
from bench.relay_process import BenchApi, RelayProcess, write_settings
from bench.sink import Sink
from bench.store import build
from bench.work import PAYLOAD

_CALLERS = 16
_PATIENCE = 1800.0
_OF_A_DEVICE = ("device", "device_owner", "device_app")
_OF_A_COPY = ("installation", "installation_app")
_MADE = """
INSERT INTO alias SELECT app_id, sha256(int8send(customer_id)), customer_id, gen_random_uuid(), now() FROM installation;
INSERT INTO sighting SELECT app_id, installation_id, now() FROM installation;
"""
"""What the population leaves out: an address for each customer, and when each copy was seen last."""
_SIZE = """
SELECT sum(pg_table_size(one))::bigint, sum(pg_indexes_size(one))::bigint FROM unnest($1::text[]) AS name
LEFT JOIN LATERAL pg_partition_tree(name::regclass) ON isleaf
CROSS JOIN LATERAL coalesce(relid, name::regclass) AS one
"""


@dataclass(frozen=True)
class Size:
    """What `count` of something take: bytes of tables and of their indexes, or bytes of WAL."""

    what: str
    count: int
    table: int = 0
    indexes: int = 0
    wal: int = 0
    page_images: int = 0
    """How often a page was written to the WAL as a whole, for all of them together."""

    def line(self) -> str:
        """A row of the table."""
        cells = (self.table, self.indexes, self.table + self.indexes, self.wal)
        shown = " | ".join(f"{cell / self.count:,.0f}" if cell else "–" for cell in cells)
        images = f" ({self.page_images:,} whole pages in all)" if self.page_images else ""
        return f"| {self.what} | {self.count:,} | {shown}{images} |"


def main() -> None:
    """Measure, and print a table in Markdown, row by row."""
    arguments = _arguments()
    SCRATCH.mkdir(parents=True, exist_ok=True)
    with Sink.start(SCRATCH / "sink") as sink, BenchPostgres(SCRATCH / "postgres-sizes") as postgres:
        settings = write_settings(
            SCRATCH / "relay.yaml",
            database=postgres.url,
            sink_port=sink.port,
            ca=sink.ca,
            port=machine.free_port(),
        )
        print("setting up the store …", file=sys.stderr, flush=True)
        app = build(postgres, settings, (arguments.devices,), neighbours=False).apps[0]
        asyncio.run(_execute(postgres.url, _MADE, "VACUUM ANALYZE"))
        print("| | measured | table | indexes | together | WAL |\n|---|---:|---:|---:|---:|---:|")
        for size in _kept(postgres, app):
            print(size.line(), flush=True)
        with RelayProcess(settings) as relay:
            for size in _sent(postgres, relay, app, arguments.pushes):
                print(size.line(), flush=True)
            backend = _backend_mib(postgres)
        version = postgres.settings["server_version"]
    print(f"\nBytes each. PostgreSQL {version}; a connection of the relay has {backend:.0f} MiB to itself.")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.sizes", description=__doc__)
    parser.add_argument(
        "--devices", type=int, default=100_000, help="of the store, a copy and a customer each"
    )
    parser.add_argument("--pushes", type=int, default=5_000, help="to one device, of each kind")
    return parser.parse_args()


def _kept(postgres: BenchPostgres, app: BenchApp) -> Iterator[Size]:
    for what, tables, rows in (
        ("customer", ("customer",), 1),
        ("device", _OF_A_DEVICE, 1),
        ("`c_` or `d_` in an app", ("scoped_identifier",), 2),
        ("copy", _OF_A_COPY, 1),
        ("device token", ("device_token",), 1),
        ("when a copy was seen", ("sighting",), 1),
        ("e-mail address", ("alias",), 1),
    ):
        yield Size(what, app.size * rows, *_size(postgres, tables))


def _sent(postgres: BenchPostgres, relay: RelayProcess, app: BenchApp, pushes: int) -> Iterator[Size]:
    plain = _Run(postgres, app, ("push", "delivery"))
    _send(relay, app, pushes, keys=False)
    yield plain.size("push to one device", pushes)
    keyed = _Run(postgres, app, ("idempotency_key",))
    _send(relay, app, pushes, keys=True)
    with_key = keyed.size("", pushes)
    yield Size("idempotency key, for a day", pushes, with_key.table, with_key.indexes)
    yield Size("push to one device with a key", pushes, wal=with_key.wal, page_images=with_key.page_images)
    everybody = _Run(postgres, app, ("push", "delivery"))
    api = BenchApi(relay.port)
    broadcast(api, app)
    api.close()
    yield everybody.size("target of a push to everybody", app.size)


class _Run:
    """From one moment on: how much tables grow, and how much WAL is written, until the queue is empty."""

    def __init__(self, postgres: BenchPostgres, app: BenchApp, tables: Sequence[str]) -> None:
        self._postgres = postgres
        self._app = app
        self._tables = tables
        # Right after a checkpoint each page is written to the WAL as a whole once: that is counted apart.
        asyncio.run(_execute(postgres.url, "CHECKPOINT"))
        self._sizes = _size(postgres, tables)
        self._delivered = self._deliveries()
        self._wal = _wal(postgres)

    def size(self, what: str, count: int) -> Size:
        deadline = time.monotonic() + _PATIENCE
        while self._deliveries() < self._delivered + count:
            if time.monotonic() > deadline:
                raise RuntimeError("the queue is not worked off")
            time.sleep(0.5)
        records, images = (
            after - before for before, after in zip(self._wal, _wal(self._postgres), strict=True)
        )
        table, indexes = (
            after - before
            for before, after in zip(self._sizes, _size(self._postgres, self._tables), strict=True)
        )
        return Size(what, count, table, indexes, records, images)

    def _deliveries(self) -> int:
        query = "SELECT coalesce(sum(cardinality(installations)), 0) FROM delivery WHERE app_id = $1"
        return self._postgres.value(query, self._app.app_id)


def _send(relay: RelayProcess, app: BenchApp, count: int, *, keys: bool) -> None:
    """From some callers at once, as many callers have it: what comes together is committed together."""

    def some(customers: Sequence[str]) -> None:
        api = BenchApi(relay.port)
        for customer in customers:
            body = {"app_id": app.app_id, "payload": json.loads(PAYLOAD), "destinations": {customer: []}}
            api.call(
                "POST",
                "/v1.0/send/",
                app.push_token,
                body,
                {"Idempotency-Key": f'"{uuid4()}"'} if keys else {},
            )
        api.close()

    customers = [app.customers[n % len(app.customers)] for n in range(count)]
    with ThreadPoolExecutor(_CALLERS) as pool:
        list(pool.map(some, [customers[n::_CALLERS] for n in range(_CALLERS)]))


def _size(postgres: BenchPostgres, tables: Sequence[str]) -> tuple[int, int]:
    asyncio.run(_execute(postgres.url, *(f"VACUUM {table}" for table in tables)))
    row = asyncio.run(_fetch(postgres.url, _SIZE, list(tables)))
    return int(row[0]), int(row[1])


def _wal(postgres: BenchPostgres) -> tuple[int, int]:
    """Bytes of WAL so far, and page images in it."""
    asyncio.run(_execute(postgres.url, "SELECT pg_stat_force_next_flush()"))
    row = asyncio.run(
        _fetch(
            postgres.url,
            "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn, (SELECT wal_fpi FROM pg_stat_wal)",
        )
    )
    return int(row[0]), int(row[1])


def _backend_mib(postgres: BenchPostgres) -> float:
    """The median of what one of the relay's connections has to itself."""
    pids = asyncio.run(
        _fetch(
            postgres.url,
            "SELECT array_agg(pid) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
        )
    )[0]
    return statistics.median(psutil.Process(pid).memory_full_info().uss / 2**20 for pid in pids)


async def _fetch(url: str, query: str, *arguments: Any) -> asyncpg.Record:
    connection = await asyncpg.connect(url)
    try:
        row = await connection.fetchrow(query, *arguments)
        assert row is not None
        return row
    finally:
        await connection.close()


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


if __name__ == "__main__":
    main()
