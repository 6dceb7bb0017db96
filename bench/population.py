"""Devices of an app, written straight to PostgreSQL: enrolling a million over the API would take too long.

Each customer has one device with one copy. The rows are those that the API would write: customer, device and its
owner, c_ and d_ (signed with the relay's keys), installation, device token. The identifiers are copied to a temporary
table, from which PostgreSQL makes the other rows.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from itertools import islice
from pathlib import Path

import asyncpg
import yaml

from bench.work import TEAM_ID
from relay.core.identifiers import RANDOM_BYTES, Identifiers
from relay.core.ids import AppId

_DEVICES_PER_SLICE = 50_000
"""Bounds the memory of the benchmark."""

# Number n is customer, device and installation at once. Each copy has a bundle identifier, as the store signs them.
_STATEMENTS = (
    "INSERT INTO customer (customer_id, external_ref) OVERRIDING SYSTEM VALUE SELECT n, 'bench-' || n FROM member",
    "INSERT INTO device (device_id, customer_id, udid_digest) OVERRIDING SYSTEM VALUE"
    " SELECT n, n, sha256(int8send(n)) FROM member",
    "INSERT INTO device_owner (device_id, udid_digest) SELECT n, sha256(int8send(n)) FROM member",
    "INSERT INTO device_app (device_id, app_id) SELECT n, app_id FROM member, signed",
    "INSERT INTO scoped_identifier (app_id, kind, subject, value) SELECT app_id, 'c', n, customer FROM member, signed"
    " UNION ALL SELECT app_id, 'd', n, device FROM member, signed",
    "WITH made AS (INSERT INTO installation (app_id, installation_id, installation_uuid, customer_id, device_id,"
    " alongside, bundle_id, team_id, environment, app_version, enrolled_at) OVERRIDING SYSTEM VALUE"
    " SELECT app_id, n, gen_random_uuid(), n, n, '', bundle_id || n, team_id, environment, '1.0', now()"
    " FROM member, signed RETURNING app_id, installation_id, installation_uuid)"
    " INSERT INTO installation_app (installation_uuid, app_id, installation_id)"
    " SELECT installation_uuid, app_id, installation_id FROM made",
    "INSERT INTO device_token (app_id, installation_id, token, registered_at)"
    " SELECT app_id, n, sha256(uuid_send(gen_random_uuid())), now() FROM member, signed",
)


@dataclass(frozen=True)
class Signing:
    """Team, environment and bundle identifier of an app's copies. That of each copy begins with `bundle_id`."""

    team_id: str = TEAM_ID
    environment: str = "production"
    bundle_id: str = "store.bench.app"


@dataclass(frozen=True)
class BenchApp:
    """An app with devices. `customers` are the first few of its customer identifiers."""

    app_id: str
    push_token: str
    size: int
    customers: list[str]


def populate(
    url: str, keys_file: Path, app_id: str, count: int, keep: int = 0, signing: Signing | None = None
) -> list[str]:
    """Fill an app with `count` devices, and return the first `keep` customer identifiers."""
    keys = yaml.safe_load(keys_file.read_text())
    identifiers = Identifiers(tuple(keys["identifiers"]))
    return asyncio.run(_populate(url, identifiers, app_id, count, keep, signing or Signing()))


async def _populate(
    url: str, identifiers: Identifiers, app_id: str, count: int, keep: int, signing: Signing
) -> list[str]:
    connection = await asyncpg.connect(url)
    kept: list[str] = []
    try:
        await connection.execute("SET synchronous_commit = off")
        await connection.execute(
            "CREATE TEMPORARY TABLE member (n bigint PRIMARY KEY, customer text, device text)"
        )
        await connection.execute(
            "CREATE TEMPORARY TABLE signed (app_id text, team_id text, environment text, bundle_id text)"
        )
        await connection.copy_records_to_table("signed", records=[(app_id, *astuple(signing))])
        first = await connection.fetchval(
            "SELECT greatest((SELECT coalesce(max(customer_id), 0) FROM customer),"
            " (SELECT coalesce(max(installation_id), 0) FROM installation)) + 1"
        )
        numbers = iter(range(first, first + count))
        while chunk := list(islice(numbers, _DEVICES_PER_SLICE)):
            minted = list(_mint(identifiers, AppId(app_id), chunk))
            kept += [customer for _, customer, _ in minted[: keep - len(kept)]]
            await connection.execute("TRUNCATE member")
            await connection.copy_records_to_table("member", records=minted)
            for statement in _STATEMENTS:
                await connection.execute(statement)
        for table in ("customer", "device", "installation"):
            column = f"{table}_id"
            sequence = f"pg_get_serial_sequence('{table}', '{column}')"
            await connection.execute(f"SELECT setval({sequence}, (SELECT max({column}) FROM {table}))")
    finally:
        await connection.close()
    return kept


def _mint(identifiers: Identifiers, app_id: AppId, numbers: list[int]) -> Iterator[tuple[int, str, str]]:
    for number in numbers:
        customer = identifiers.mint_customer(app_id, secrets.token_bytes(RANDOM_BYTES))
        yield number, customer, identifiers.mint_device(app_id, customer, secrets.token_bytes(RANDOM_BYTES))
