"""Publishers, their apps and their manage tokens."""

from __future__ import annotations

import re

import pytest

from relay.node.main import Relay
from tests.console.conftest import (
    ConsoleClient,
    operator_actions,
)
from tests.end_to_end.store import Store


async def create_publisher(client: ConsoleClient) -> tuple[str, str]:
    """Create a publisher in the console; return the path of its page and its first manage token."""
    status, text = await client.post("publishers/", {"name": "Ada <Chess>"})
    assert status == 200
    assert "Ada &lt;Chess&gt;" in text
    token = re.search(r"manage_[A-Za-z0-9_-]{48}", text)
    path = re.search(r'action="/console/(publishers/[0-9a-f-]{36}/)apps/"', text)
    assert token
    assert path
    return path[1], token[0]


async def test_a_publisher_and_its_app_are_created(client: ConsoleClient, store: Store, relay: Relay) -> None:
    await client.sign_in(store.operator_token)
    path, token = await create_publisher(client)
    fields = {"name": "Chess", "app_id": "chess1"}
    status, text = await client.post(f"{path}apps/", fields)
    assert (status, "The app Chess was added with the app_id chess1." in text) == (200, True)
    status, text = await client.post(f"{path}apps/", fields)
    assert (status, "This app_id is taken." in text) == (422, True)
    apps = await store.must("GET", "/v1.0/apps/", token)
    assert [app["app_id"] for app in apps["items"]] == ["chess1"]
    assert (await operator_actions(relay))[:3] == [
        "app.created",
        "manage_token.created",
        "publisher.created",
    ]


async def test_a_manage_token_is_shown_once_and_revoked(
    client: ConsoleClient, store: Store, relay: Relay
) -> None:
    await client.sign_in(store.operator_token)
    path, token = await create_publisher(client)
    _, text = await client.get(path)
    assert token not in text
    status, text = await client.post(f"{path}tokens/", {"label": "second"})
    second = re.search(r"manage_[A-Za-z0-9_-]{48}", text)
    assert (status, bool(second)) == (200, True)
    for revoke_path in sorted(set(re.findall(r'action="/console/(publishers/[^"]+/revoke/)"', text))):
        assert [(await client.post(revoke_path))[0] for _ in range(2)] == [200, 404]
    assert (await store.call("GET", "/v1.0/apps/", token))[0] == 401
    assert (await operator_actions(relay))[:5] == [
        "manage_token.revoked",
        "manage_token.revoked",
        "manage_token.created",
        "manage_token.created",
        "publisher.created",
    ]


@pytest.mark.parametrize(("name", "detail"), [("", 'class="fault"'), ("a\nb", "one line of text")])
async def test_a_fault_is_shown_at_its_field(
    client: ConsoleClient, store: Store, name: str, detail: str
) -> None:
    await client.sign_in(store.operator_token)
    status, text = await client.post("publishers/", {"name": name})
    assert (status, detail in text) == (422, True)
