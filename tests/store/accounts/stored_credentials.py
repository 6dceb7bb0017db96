"""All stored credentials, for tests: a node looks them up by team."""

from __future__ import annotations

from relay.core.accounts import Environment
from relay.core.delivery.sending import Credential
from relay.store.accounts.credentials import Credentials
from relay.store.database import Database


async def unseal_all(database: Database, credentials: Credentials) -> list[Credential]:
    """Return every stored credential that `credentials` can decrypt, oldest first."""
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT DISTINCT team_id, environment FROM credential")
    stored = await credentials.find_of_teams([(row[0], Environment(row[1])) for row in rows])
    unsealed = map(credentials.unseal, sorted(stored, key=lambda each: each.credential_id))
    return [credential for credential in unsealed if credential is not None]
