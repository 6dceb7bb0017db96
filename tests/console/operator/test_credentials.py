"""Credentials: suspended, resumed, replaced."""

from __future__ import annotations

from relay.node.main import Relay
from tests.console.conftest import (
    ConsoleClient,
    operator_actions,
    suspend_credential,
)
from tests.end_to_end.store import Store


async def test_pushes_wait_for_a_suspended_credential(
    client: ConsoleClient, store: Store, relay: Relay
) -> None:
    app = await store.app()
    copy = await store.copy(app, "1", "1")
    credential_id = await suspend_credential(relay)
    await client.sign_in(store.operator_token)
    _, text = await client.get("credentials/")
    assert "InvalidProviderToken" in text
    assert "Apple refuses the key" in text
    _, answer = await store.send(app, {copy.customer: []})
    status, text = await client.post(f"credentials/{credential_id}/resume/")
    assert (status, "is active" in text) == (200, True)
    await store.done(app, answer["push_id"])
    assert await store.received(copy) == [1]
    status, text = await client.post(f"credentials/{credential_id}/suspend/")
    assert (status, "An operator suspended it." in text) == (200, True)
    assert (await operator_actions(relay))[:2] == ["credential.suspended", "credential.resumed"]
    assert (await client.post("credentials/999/suspend/"))[0] == 404


async def test_a_key_is_replaced(client: ConsoleClient, store: Store) -> None:
    app = await store.app()
    copy = await store.copy(app, "1", "1")
    await client.sign_in(store.operator_token)
    key = store.apns.issue_key("TEAM000001")
    fields = {"team_id": "TEAM000001", "environment": "production", "key_id": key.key_id, "p8": "nonsense"}
    status, text = await client.post("credentials/", fields)
    assert (status, "no PEM private key" in text) == (422, True)
    assert "nonsense" not in text
    status, text = await client.post("credentials/", {**fields, "p8": key.p8})
    assert (status, "The credential of TEAM000001 was replaced." in text) == (200, True)
    assert key.key_id in text
    assert "PRIVATE KEY" not in text
    await store.push(app, {copy.customer: []})
    assert await store.received(copy) == [1]
