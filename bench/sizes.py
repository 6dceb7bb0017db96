"""`python -m bench.sizes`: bytes of each kind of row in PostgreSQL, on disk, and for pushes also in its log (WAL).

It uses a fresh embedded PostgreSQL with its settings as shipped, a real relay, and the sink. The store is filled as for
the benchmarks. Then pushes go over the API: to one device each, without and with an Idempotency-Key, and one to all.
Sizes are those of tables and indexes after VACUUM. A table that is filled over months has more free space in it.
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

_CALLER_COUNT = 16
_PATIENCE_SECONDS = 1800.0
_DEVICE_TABLES = ("device", "device_owner", "device_app")
_COPY_TABLES = ("installation", "installation_app")
_REST_OF_POPULATION = """
INSERT INTO alias SELECT app_id, sha256(int8send(customer_id)), customer_id, gen_random_uuid(), now() FROM installation;
INSERT INTO sighting SELECT app_id, installation_id, now() FROM installation;
"""
"""Rows that `bench.population` leaves out: an address of each customer, and when each copy was last seen."""
_SIZE = """
SELECT sum(pg_table_size(one))::bigint, sum(pg_indexes_size(one))::bigint FROM unnest($1::text[]) AS name
LEFT JOIN LATERAL pg_partition_tree(name::regclass) ON isleaf
CROSS JOIN LATERAL coalesce(relid, name::regclass) AS one
"""


@dataclass(frozen=True)
class Size:
    """Bytes of `count` things: of tables and of their indexes, or of WAL."""

    name: str
    count: int
    table: int = 0
    indexes: int = 0
    wal: int = 0
    page_images: int = 0
    """Pages that were written to the WAL as a whole, for all of them together."""

    def line(self) -> str:
        """Return a row of the table in Markdown."""
        cells = (self.table, self.indexes, self.table + self.indexes, self.wal)
        shown = " | ".join(f"{cell / self.count:,.0f}" if cell else "–" for cell in cells)
        images = f" ({self.page_images:,} whole pages in all)" if self.page_images else ""
        return f"| {self.name} | {self.count:,} | {shown}{images} |"


def main() -> None:
    """Measure, and print a table in Markdown row by row."""
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
        asyncio.run(_execute(postgres.url, _REST_OF_POPULATION, "VACUUM ANALYZE"))
        print("| | measured | table | indexes | together | WAL |\n|---|---:|---:|---:|---:|---:|")
        for size in _measure_stored(postgres, app):
            print(size.line(), flush=True)
        with RelayProcess(settings) as relay:
            for size in _measure_sent(postgres, relay, app, arguments.pushes):
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


def _measure_stored(postgres: BenchPostgres, app: BenchApp) -> Iterator[Size]:
    for name, tables, rows in (
        ("customer", ("customer",), 1),
        ("device", _DEVICE_TABLES, 1),
        ("`c_` or `d_` in an app", ("scoped_identifier",), 2),
        ("copy", _COPY_TABLES, 1),
        ("device token", ("device_token",), 1),
        ("when a copy was seen", ("sighting",), 1),
        ("e-mail address", ("alias",), 1),
    ):
        yield Size(name, app.size * rows, *_size(postgres, tables))


def _measure_sent(postgres: BenchPostgres, relay: RelayProcess, app: BenchApp, pushes: int) -> Iterator[Size]:
    plain = _Growth(postgres, app, ("push", "delivery"))
    _send(relay, app, pushes, keys=False)
    yield plain.size("push to one device", pushes)
    keyed = _Growth(postgres, app, ("idempotency_key",))
    _send(relay, app, pushes, keys=True)
    with_key = keyed.size("", pushes)
    yield Size("idempotency key, for a day", pushes, with_key.table, with_key.indexes)
    yield Size("push to one device with a key", pushes, wal=with_key.wal, page_images=with_key.page_images)
    broadcast_growth = _Growth(postgres, app, ("push", "delivery"))
    api = BenchApi(relay.port)
    broadcast(api, app)
    api.close()
    yield broadcast_growth.size("target of a push to everybody", app.size)


class _Growth:
    """The growth of tables and the WAL from the creation of the object on until the queue is empty."""

    def __init__(self, postgres: BenchPostgres, app: BenchApp, tables: Sequence[str]) -> None:
        self._postgres = postgres
        self._app = app
        self._tables = tables
        # After a checkpoint each page is written to the WAL as a whole once, which is counted separately.
        asyncio.run(_execute(postgres.url, "CHECKPOINT"))
        self._sizes = _size(postgres, tables)
        self._delivered = self._deliveries()
        self._wal = _wal(postgres)

    def size(self, name: str, count: int) -> Size:
        """Wait for `count` more deliveries, and return the growth as that of `count` things."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
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
        return Size(name, count, table, indexes, records, images)

    def _deliveries(self) -> int:
        query = "SELECT coalesce(sum(cardinality(installations)), 0) FROM delivery WHERE app_id = $1"
        return self._postgres.value(query, self._app.app_id)


def _send(relay: RelayProcess, app: BenchApp, count: int, *, keys: bool) -> None:
    """Send from several callers at once: the relay commits pushes together that arrive together."""

    def send_each(customers: Sequence[str]) -> None:
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
    with ThreadPoolExecutor(_CALLER_COUNT) as pool:
        list(pool.map(send_each, [customers[n::_CALLER_COUNT] for n in range(_CALLER_COUNT)]))


def _size(postgres: BenchPostgres, tables: Sequence[str]) -> tuple[int, int]:
    asyncio.run(_execute(postgres.url, *(f"VACUUM {table}" for table in tables)))
    row = asyncio.run(_fetch(postgres.url, _SIZE, list(tables)))
    return int(row[0]), int(row[1])


def _wal(postgres: BenchPostgres) -> tuple[int, int]:
    """Return the bytes of WAL so far, and the number of page images in it."""
    asyncio.run(_execute(postgres.url, "SELECT pg_stat_force_next_flush()"))
    row = asyncio.run(
        _fetch(
            postgres.url,
            "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn, (SELECT wal_fpi FROM pg_stat_wal)",
        )
    )
    return int(row[0]), int(row[1])


def _backend_mib(postgres: BenchPostgres) -> float:
    """Return the median of the memory (MiB) that one of the relay's connections has to itself."""
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
