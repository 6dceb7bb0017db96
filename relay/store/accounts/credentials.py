"""What authenticates to APNs, its secret encrypted at rest.

A credential belongs to a team, an environment and a bundle identifier, or to all topics of its team where
that is "". One that Apple refuses is suspended: batches that need it are held, and become due again when it
is resumed, replaced or removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from relay.core.accounts import CredentialKind, CredentialState, Environment
from relay.core.delivery.sending import Credential
from relay.core.ids import CredentialId
from relay.store.database import Connection, Database
from relay.store.encryption import SecretCipher, UndecryptableSecret
from relay.store.key_rotation import Rotation, reencrypt_old_secrets
from relay.store.operations import audit
from relay.store.operations.audit import RELAY, Actor, AuditAction, AuditEntry
from relay.telemetry.logs import get_logger

_log = get_logger(__name__)
BY_OPERATOR = "SuspendedByOperator"
"""The reason of a credential that Apple did not refuse: an operator suspended it."""
NO_CREDENTIAL = 0
"""`held_by` of batches that wait for a credential that does not exist yet."""

_FIND_OF_TEAMS = """
SELECT c.credential_id, c.version, c.team_id, c.environment, c.bundle_id, c.kind, c.key_id, c.secret, c.state
FROM unnest($1::text[], $2::text[]) AS t(team_id, environment)
JOIN credential c ON c.team_id = t.team_id AND c.environment = t.environment
"""
_FIND_ACTIVE = (
    "SELECT credential_id FROM credential WHERE credential_id = ANY($1::bigint[]) AND state = 'active'"
)
_PUT = """
INSERT INTO credential AS c (team_id, environment, bundle_id, kind, key_id, secret, state_since, created_at,
                             secret_since)
VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $7)
ON CONFLICT (team_id, environment, bundle_id) DO UPDATE SET
    kind = excluded.kind, key_id = excluded.key_id, secret = excluded.secret, version = c.version + 1,
    state = 'active', state_reason = '', state_since = excluded.state_since, secret_since = excluded.secret_since
RETURNING credential_id, team_id, environment, bundle_id, kind, key_id, version, state, state_reason, state_since,
          created_at, secret_since
"""
_PAGE = """
SELECT credential_id, team_id, environment, bundle_id, kind, key_id, version, state, state_reason, state_since,
       created_at, coalesce(secret_since, created_at) AS secret_since
FROM credential WHERE credential_id > $1 ORDER BY credential_id LIMIT $2
"""
_LOGGED = "credential_id, team_id, environment, bundle_id, kind, key_id, version"
_SUSPEND = f"""
UPDATE credential SET state = 'suspended', state_reason = $2, state_since = $3
WHERE credential_id = $1 AND state = 'active' AND ($4::integer IS NULL OR version = $4)
  AND ($5::timestamptz IS NULL OR state_since <= $5)
RETURNING {_LOGGED}
"""  # noqa: S608 - the columns are ours
_RESUME = f"""
UPDATE credential SET state = 'active', state_reason = '', state_since = $2
WHERE credential_id = $1 AND state = 'suspended'
RETURNING {_LOGGED}
"""  # noqa: S608 - the columns are ours
_REMOVE = f"DELETE FROM credential WHERE credential_id = $1 RETURNING {_LOGGED}"  # noqa: S608 - ours
# Locked in one order. Whoever replaces a secret meanwhile waits, and then writes the new one; whoever did so before is
# waited for, and the new one is read.
_LOCK = f"SELECT {_LOGGED}, secret FROM credential ORDER BY credential_id FOR UPDATE"  # noqa: S608 - ours
_REENCRYPT = """
UPDATE credential c SET secret = n.secret
FROM unnest($1::bigint[], $2::bytea[]) AS n (credential_id, secret) WHERE c.credential_id = n.credential_id
"""
# Also what another credential of the team holds, and what waits for one that did not exist (0): the new one
# may be the one that serves those topics now.
_RELEASE_TEAM = """
SELECT array_append(array_agg(credential_id), 0::bigint) FROM credential WHERE team_id = $1 AND environment = $2
"""
# A row that is locked is being claimed: it is held again, or sent. `last_reason` says why a batch was held before;
# without it, a node that has not heard yet of what happened to the credential holds the batch for a short while only.
_RELEASE = """
WITH held AS (
    SELECT app_id, push_id, batch_id FROM batch WHERE held_by = ANY($1::bigint[]) LIMIT $3 FOR UPDATE SKIP LOCKED
)
UPDATE batch b SET due_at = $2, held_by = NULL, last_reason = '' FROM held h
WHERE b.app_id = h.app_id AND b.push_id = h.push_id AND b.batch_id = h.batch_id
"""
_BY_STATE = "SELECT state, count(*) FROM credential GROUP BY state"
_PIECE = 5000
"""So many batches are released in one transaction: a credential may hold more than one statement has the time for."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class NewCredential:
    """A checked credential to be stored. `secret` is PEM text, in clear; `bundle_id` "" is for all topics."""

    team_id: str
    environment: Environment
    bundle_id: str
    kind: str
    key_id: str
    secret: str


@dataclass(frozen=True, slots=True)
class CredentialDescription:
    """What is told of a credential: all but its secret, which it has had since `secret_since`."""

    credential_id: int
    team_id: str
    environment: str
    bundle_id: str
    kind: str
    key_id: str
    version: int
    state: str
    state_reason: str
    state_since: datetime
    created_at: datetime
    secret_since: datetime


@dataclass(frozen=True, slots=True, repr=False)
class StoredCredential:
    """A credential as it is stored: `sealed` is its encrypted secret."""

    credential_id: int
    version: int
    team_id: str
    environment: Environment
    bundle_id: str
    kind: CredentialKind
    key_id: str
    sealed: bytes
    is_suspended: bool


class Credentials:
    """The stored credentials under `secret_keys`, oldest to newest: the newest encrypts, all decrypt."""

    def __init__(self, database: Database, secret_keys: tuple[str, ...]) -> None:
        self._database = database
        self._cipher = SecretCipher(secret_keys, "credentials")

    async def find_of_teams(self, teams: Sequence[tuple[str, Environment]]) -> list[StoredCredential]:
        """Return the credentials of these (team, environment) pairs, in no order. Raises Unavailable."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                _FIND_OF_TEAMS, [team_id for team_id, _ in teams], [environment for _, environment in teams]
            )
        return [
            StoredCredential(
                credential_id=row[0],
                version=row[1],
                team_id=row[2],
                environment=Environment(row[3]),
                bundle_id=row[4],
                kind=CredentialKind(row[5]),
                key_id=row[6],
                sealed=row[7],
                is_suspended=row[8] == CredentialState.SUSPENDED,
            )
            for row in rows
        ]

    async def find_inactive(self, credential_ids: Sequence[int]) -> list[int]:
        """Return those of `credential_ids` that are suspended or gone. Raises Unavailable."""
        async with self._database.connection() as connection:
            active = {row[0] for row in await connection.fetch(_FIND_ACTIVE, credential_ids)}
        return [credential_id for credential_id in credential_ids if credential_id not in active]

    def unseal(self, stored: StoredCredential) -> Credential | None:
        """Decrypt a credential. None if no key in `keys.credentials` opens it, which is logged by its id."""
        try:
            secret = self._cipher.decrypt_secret(stored.sealed)
        except UndecryptableSecret:
            _log.error("no key in keys.credentials decrypts a credential", credential_id=stored.credential_id)
            return None
        return Credential(
            credential_id=CredentialId(stored.credential_id),
            version=stored.version,
            team_id=stored.team_id,
            environment=stored.environment,
            kind=stored.kind,
            key_id=stored.key_id,
            secret=secret,
            bundle_id=stored.bundle_id,
        )

    async def put(self, new: NewCredential, now: datetime, actor: Actor) -> CredentialDescription:
        """Store a credential, replacing that of the same team, environment and bundle; it is active then."""
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(
                _PUT,
                new.team_id,
                new.environment.value,
                new.bundle_id,
                new.kind,
                new.key_id,
                self._cipher.encrypt_secret(new.secret),
                now,
            )
            assert row is not None  # an upsert returns its row
            await audit.write_entries(connection, actor, now, _entry(AuditAction.CREDENTIAL_PUT, row))
            team = await connection.fetchval(_RELEASE_TEAM, new.team_id, new.environment.value)
        await self._release([*team, NO_CREDENTIAL], now)
        return CredentialDescription(**row)

    async def page(self, after: int, limit: int) -> list[CredentialDescription]:
        """Up to `limit` credentials that follow `after`, oldest first."""
        async with self._database.connection() as connection:
            return [CredentialDescription(**row) for row in await connection.fetch(_PAGE, after, limit)]

    async def suspend(
        self,
        credential_id: int,
        reason: str,
        now: datetime,
        *,
        version: int | None = None,
        sent_at: datetime | None = None,
        actor: Actor = RELAY,
    ) -> bool:
        """Suspend a credential that Apple refused, or that `actor` wants to rest. False if it is suspended, or gone.

        With `version`, only that secret is meant: one that replaced it meanwhile stays active. So does one that was
        resumed after `sent_at`, when what Apple refused had been sent.
        """
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(_SUSPEND, credential_id, reason, now, version, sent_at)
            if row is not None:
                entry = _entry(AuditAction.CREDENTIAL_SUSPENDED, row, reason=reason)
                await audit.write_entries(connection, actor, now, entry)
            return row is not None

    async def exists(self, credential_id: int) -> bool:
        """Whether there is such a credential."""
        async with self._database.connection() as connection:
            found = await connection.fetchval(
                "SELECT true FROM credential WHERE credential_id = $1", credential_id
            )
        return bool(found)

    async def resume(self, credential_id: int, now: datetime, actor: Actor) -> bool:
        """Make a credential active and what it held due. False if there is no such credential."""
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(_RESUME, credential_id, now)
            if row is not None:
                await audit.write_entries(connection, actor, now, _entry(AuditAction.CREDENTIAL_RESUMED, row))
        await self._release([credential_id], now)
        return await self.exists(credential_id)

    async def remove(self, credential_id: int, now: datetime, actor: Actor) -> bool:
        """Remove a credential. What it held becomes due, to end without one. False if there is none."""
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(_REMOVE, credential_id)
            if row is not None:
                await audit.write_entries(connection, actor, now, _entry(AuditAction.CREDENTIAL_REMOVED, row))
        await self._release([credential_id], now)
        return row is not None

    async def _release(self, credential_ids: list[int], now: datetime) -> None:
        """Make due what these hold. If it breaks off, the rest is looked at by itself, later."""
        released = _PIECE
        while released == _PIECE:
            async with self._database.connection() as connection:
                done = await connection.execute(_RELEASE, credential_ids, now, _PIECE)
            released = int(done.rpartition(" ")[2])

    async def rotate_key(self, connection: Connection, now: datetime, actor: Actor) -> Rotation:
        """Encrypt anew, with the newest key, every secret that another one encrypted.

        The versions stay, so running relays keep what they decrypted, and their connections. Raises Conflict if there
        is a secret that none of the keys opens.
        """
        rows = await connection.fetch(_LOCK)
        names = [f"credential {row['credential_id']}" for row in rows]
        anew = reencrypt_old_secrets(self._cipher, [row["secret"] for row in rows], names)
        ids = [rows[index]["credential_id"] for index in anew]
        await connection.execute(_REENCRYPT, ids, list(anew.values()))
        entries = [_entry(AuditAction.CREDENTIAL_REENCRYPTED, rows[index]) for index in anew]
        await audit.write_entries(connection, actor, now, *entries)
        return Rotation(len(rows), len(anew))


async def count_by_state(database: Database) -> dict[str, int]:
    """How many credentials are "active" and "suspended". Raises Unavailable."""
    async with database.connection() as connection:
        return {row[0]: row[1] for row in await connection.fetch(_BY_STATE)}


def _entry(action: AuditAction, row: asyncpg.Record, **more: str) -> AuditEntry:
    """The audit entry of a credential: in the operator's log alone, because its team may serve many publishers."""
    shown = {name: row[name] for name in ("team_id", "environment", "bundle_id", "kind", "key_id", "version")}
    return AuditEntry(action, str(row["credential_id"]), detail=shown | more)
