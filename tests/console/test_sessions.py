"""The life of a session."""

from __future__ import annotations

from relay.node.main import Relay
from tests.console.conftest import (
    ConsoleClient,
)
from tests.end_to_end.store import Store


async def test_a_session_ends_with_its_token(client: ConsoleClient, store: Store, relay: Relay) -> None:
    await client.sign_in(store.operator_token)
    assert "Audit log" in (await client.get("audit/"))[1]
    async with relay.database.connection() as connection:
        await connection.execute("UPDATE api_token SET revoked_at = now() WHERE kind = 'operator'")
    assert "I have no token" in (await client.get("audit/"))[1]


async def test_an_idle_session_ends(client: ConsoleClient, store: Store, relay: Relay) -> None:
    await client.sign_in(store.operator_token)
    async with relay.database.connection() as connection:
        await connection.execute("UPDATE console_session SET seen_at = now() - interval '7 hours 59 minutes'")
    assert "Audit log" in (await client.get("audit/"))[1]
    async with relay.database.connection() as connection:
        assert await connection.fetchval("SELECT seen_at > now() - interval '1 hour' FROM console_session")
        await connection.execute("UPDATE console_session SET seen_at = now() - interval '8 hours 1 minute'")
    assert "I have no token" in (await client.get("audit/"))[1]


async def test_a_changed_cookie_is_refused(client: ConsoleClient, store: Store) -> None:
    await client.sign_in(store.operator_token)
    (cookie,) = client.http.cookie_jar
    client.http.cookie_jar.clear()
    for value, is_known in ((cookie.value, True), (f"{cookie.value[:-3]}AAA", False), ("", False)):
        headers = {"Cookie": f"{cookie.key}={value}"}
        async with client.http.get("/console/audit/", headers=headers) as answer:
            text = await answer.text()
        assert ("Audit log" in text, "I have no token" in text) == (is_known, not is_known), value
