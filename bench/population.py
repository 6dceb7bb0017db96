"""A store full of devices, made straight in PostgreSQL: enrolling a million over the API would take the whole bench.

What the API would write for `count` customers with one device and one copy each: customer, device and its owner,
c_ and d_ (real ones, signed with the relay's keys), installation, device token. All through COPY.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import yaml

from bench.work import TEAM_ID
from relay.core.identifiers import RANDOM_BYTES, Identifiers

_SLICE = 20_000
"""Devices at a time: bounds the memory of the harness."""


@dataclass(frozen=True)
class App:
    """An app with devices. `customers` are the first few of its customer identifiers."""

    app_id: str
    push_token: str
    size: int
    customers: list[str]


def populate(url: str, keys_file: Path, app_id: str, count: int, keep: int = 0) -> list[str]:
    """Fill an app with `count` devices; returns the first `keep` customer identifiers."""
    keys = yaml.safe_load(keys_file.read_text())
    return asyncio.run(_populate(url, Identifiers(tuple(keys["identifiers"])), app_id, count, keep))


async def _populate(url: str, identifiers: Identifiers, app_id: str, count: int, keep: int) -> list[str]:
    connection = await asyncpg.connect(url)
    kept: list[str] = []
    try:
        await connection.execute("SET synchronous_commit = off")
        first = await connection.fetchval(
            "SELECT greatest((SELECT coalesce(max(customer_id), 0) FROM customer),"
            " (SELECT coalesce(max(installation_id), 0) FROM installation)) + 1"
        )
        numbers = iter(range(first, first + count))
        now = datetime.now(UTC)
        while chunk := list(islice(numbers, _SLICE)):
            minted = list(_mint(identifiers, app_id, len(chunk)))
            kept += [customer for customer, _ in minted[: keep - len(kept)]]
            for table, columns, rows in _tables(app_id, chunk, minted, now):
                await connection.copy_records_to_table(table, columns=columns, records=rows)
        for table in ("customer", "device", "installation"):
            column = f"{table}_id"
            sequence = f"pg_get_serial_sequence('{table}', '{column}')"
            await connection.execute(f"SELECT setval({sequence}, (SELECT max({column}) FROM {table}))")
    finally:
        await connection.close()
    return kept


def _mint(identifiers: Identifiers, app_id: str, count: int) -> Iterator[tuple[str, str]]:
    for _ in range(count):
        customer = identifiers.mint_customer(app_id, secrets.token_bytes(RANDOM_BYTES))
        yield customer, identifiers.mint_device(app_id, customer, secrets.token_bytes(RANDOM_BYTES))


Table = tuple[str, tuple[str, ...], list[tuple[Any, ...]]]


def _tables(app_id: str, numbers: list[int], minted: list[tuple[str, str]], now: datetime) -> Iterator[Table]:
    """The rows of these devices; number n is customer, device and installation at once."""
    udids = [secrets.token_bytes(32) for _ in numbers]
    uuids = [UUID(bytes=secrets.token_bytes(16), version=4) for _ in numbers]
    yield "customer", ("customer_id", "external_ref"), [(n, f"bench-{n}") for n in numbers]
    owners = list(zip(numbers, udids, strict=True))
    yield "device", ("device_id", "customer_id", "udid_digest"), [(n, n, udid) for n, udid in owners]
    yield "device_owner", ("device_id", "udid_digest"), owners
    yield "device_app", ("device_id", "app_id"), [(n, app_id) for n in numbers]
    identifiers = [
        (app_id, kind, n, value)
        for n, pair in zip(numbers, minted, strict=True)
        for kind, value in zip((b"c", b"d"), pair, strict=True)
    ]
    yield "scoped_identifier", ("app_id", "kind", "subject", "value"), identifiers
    columns = ("app_id", "installation_id", "installation_uuid", "customer_id", "device_id", "alongside")
    columns += ("bundle_id", "team_id", "environment", "app_version", "enrolled_at")
    installations = [
        # One bundle identifier a copy, as the store signs them.
        (app_id, n, uuid, n, n, "", f"store.bench.app{n % 50}", TEAM_ID, "production", "1.0", now)
        for n, uuid in zip(numbers, uuids, strict=True)
    ]
    yield "installation", columns, installations
    places = [(uuid, app_id, n) for n, uuid in zip(numbers, uuids, strict=True)]
    yield "installation_app", ("installation_uuid", "app_id", "installation_id"), places
    tokens = [(app_id, n, secrets.token_bytes(32), now) for n in numbers]
    yield "device_token", ("app_id", "installation_id", "token", "registered_at"), tokens
