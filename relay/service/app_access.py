"""The apps whose pushes and channels a caller may see."""

from __future__ import annotations

from collections.abc import Sequence

from relay.store.accounts.api_tokens import ManageToken, PushToken
from relay.store.accounts.apps import AppRepository
from relay.store.database import Database


class AppAccess:
    """The apps of API tokens: a push token is for one app, a manage token for all apps of its publisher."""

    def __init__(self, database: Database) -> None:
        self._apps = AppRepository(database)

    async def list_app_ids(self, token: PushToken | ManageToken) -> Sequence[str]:
        """Return the ids of the apps that `token` is for, in no particular order."""
        if isinstance(token, PushToken):
            return [token.app_id]
        return await self._apps.list_app_ids(token.publisher_id)
