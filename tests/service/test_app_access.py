"""The apps that API tokens are for."""

from __future__ import annotations

from uuid import uuid4

from relay.core.ids import AppId, PublisherId, TokenId
from relay.service.app_access import AppAccess
from relay.store.accounts.api_tokens import ManageToken, PushToken
from relay.store.database import Database
from tests.factories import NOW


async def test_a_push_token_is_for_its_app_and_a_manage_token_for_all_of_its_publisher(
    database: Database,
) -> None:
    publisher_id = PublisherId(uuid4())
    async with database.connection() as connection:
        await connection.execute("INSERT INTO publisher VALUES ($1, 'P', $2)", publisher_id, NOW)
        for app_id in ("chess", "go"):
            await connection.execute("INSERT INTO app VALUES ($1, $2, 'A', $3)", app_id, publisher_id, NOW)
    access = AppAccess(database)
    push_token = PushToken(TokenId(uuid4()), publisher_id, AppId("go"), False, False, None)
    assert list(await access.list_app_ids(push_token)) == ["go"]
    manage_token = ManageToken(TokenId(uuid4()), publisher_id, None)
    assert sorted(await access.list_app_ids(manage_token)) == ["chess", "go"]
    other_token = ManageToken(TokenId(uuid4()), PublisherId(uuid4()), None)
    assert list(await access.list_app_ids(other_token)) == []
