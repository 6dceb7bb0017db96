"""The audit log: all entries for the operator, those about its own objects for a publisher, never a secret."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest

from tests.api import pems
from tests.api.front import TEAM, Answer, Front

UDID = "00008030-001C2D223A80802E"
KEY = {"team_id": TEAM, "environment": "production", "key_id": "KEY0000001"}


async def read_log(front: Front, token: str | None = None, query: str = "") -> list[dict[str, Any]]:
    """Return the entries, oldest first."""
    answer = await front.call("GET", f"audit/{query}", token=token)
    assert answer.status == 200, answer
    return list(reversed(answer.body["items"]))


def summarise(entries: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Return actor, action and subject of each entry."""
    return [(entry["actor"], entry["action"], entry["subject"]) for entry in entries]


class AuditedActions:
    """Every action that the API logs, carried out once.

    `secrets` are all secret texts that were sent or received. `expected` are the entries as `summarise` returns them,
    and `publisher_entries` those that the publisher sees.
    """

    def __init__(self, front: Front) -> None:
        self._front = front
        self.secrets: list[str] = [UDID, UDID.replace("-", ""), "the customer's reference", "ab" * 32]
        self.expected: list[tuple[str, str, str]] = []
        self.publisher_entries: list[tuple[str, str, str]] = []
        self.manage_token = ""

    async def carry_out(self) -> None:
        await self._create_publisher_and_app()
        await self._manage_push_tokens()
        await self._manage_test_devices()
        await self._manage_webhooks()
        await self._manage_credentials()
        await self._enrol_installations()
        await self._manage_aliases()

    async def _call(self, method: str, path: str, body: Any = None, token: str | None = None) -> Answer:
        answer = await self._front.call(method, path, body, token=token)
        assert answer.status < 300, answer
        for name in ("token", "manage_token", "install_token", "secret"):
            if answer.body and name in answer.body:
                self.secrets.append(answer.body[name])
        return answer

    def _expect(self, subject: object, *actions: str, actor: str = "publisher") -> None:
        """Expect entries that the publisher sees."""
        entries = [(actor, action, str(subject)) for action in actions]
        self.expected += entries
        self.publisher_entries += entries

    def _expect_for_operator(self, subject: object, *actions: str) -> None:
        """Expect entries that only the operator sees."""
        self.expected += [("operator", action, str(subject)) for action in actions]

    async def _create_publisher_and_app(self) -> None:
        created = (await self._call("POST", "operator/publishers/", {"name": "Ada"})).body
        publisher, self.manage_token = created["id"], created["manage_token"]
        log = await read_log(self._front, self.manage_token)
        [first_token] = [entry["subject"] for entry in log if entry["action"] == "manage_token.created"]
        second_token = (await self._call("POST", f"operator/publishers/{publisher}/tokens/")).body["id"]
        app = {"publisher_id": publisher, "name": "Chess", "app_id": "chess"}
        await self._call("POST", "operator/apps/", app)
        self._expect(publisher, "publisher.created", actor="operator")
        for token_id in (first_token, second_token):
            self._expect(token_id, "manage_token.created", actor="operator")
        self._expect("chess", "app.created", actor="operator")

    async def _manage_push_tokens(self) -> None:
        path, token = "apps/chess/tokens/", self.manage_token
        token_id = (await self._call("POST", path, {"label": "staging"}, token)).body["id"]
        await self._call("DELETE", f"{path}{token_id}/", token=token)
        self._expect(token_id, "push_token.created", "push_token.revoked")

    async def _manage_test_devices(self) -> None:
        token = self.manage_token
        device = await self._call("POST", "test-devices/", {"udid": UDID, "label": "my phone"}, token)
        path = f"test-devices/{device.body['id']}/"
        await self._call("PATCH", path, {"failure_domain": "slow"}, token)
        await self._call("DELETE", path, token=token)
        actions = ("test_device.added", "test_device.changed", "test_device.removed")
        self._expect(device.body["id"], *actions)

    async def _manage_webhooks(self) -> None:
        path, body = "apps/chess/webhooks/", {"events": ["push.completed"]}
        url = {"url": "https://chess.example/secret-path"}
        webhook = (await self._call("POST", path, body | url, self.manage_token)).body["id"]
        await self._call("DELETE", f"{path}{webhook}/", token=self.manage_token)
        self.secrets.append("secret-path")
        self._expect(webhook, "webhook.created", "webhook.removed")

    async def _manage_credentials(self) -> None:
        key = pems.p8()
        self.secrets += key.splitlines()[1:-1]
        credential = (await self._call("POST", "operator/credentials/", KEY | {"p8": key})).body["id"]
        path = f"operator/credentials/{credential}/"
        await self._call("POST", f"{path}suspend/")
        await self._call("POST", f"{path}resume/")
        await self._call("DELETE", path)
        actions = ("credential.put", "credential.suspended", "credential.resumed", "credential.removed")
        self._expect_for_operator(credential, *actions)

    async def _enrol_installations(self) -> None:
        copy = self._front.copy("chess", customer="the customer's reference", udid=UDID)
        single, in_bulk = uuid4(), uuid4()
        enrolled = await self._call("PUT", f"operator/installations/{single}/", copy)
        await self._front.register(enrolled.body["install_token"], "ab" * 32)
        body = {"installations": [copy | {"installation_uuid": str(in_bulk), "alongside": "b"}]}
        answer = await self._call("POST", "operator/installations/", body)
        self.secrets.append(answer.body["installations"][0]["install_token"])
        await self._call("DELETE", f"operator/installations/{single}/")
        self._expect_for_operator("chess", "installations.enrolled", "installations.enrolled")
        self._expect_for_operator(single, "installation.retired")

    async def _manage_aliases(self) -> None:
        token, query = self.manage_token, "?app_id=chess"
        await self._call("PATCH", "apps/chess/", {"installations_attach_aliases": True}, token)
        [customer] = (await self._call("GET", f"customers/{query}", token=token)).body["items"]
        path = f"customers/{customer['customer_id']}/aliases/"
        self.secrets.append("secret-anna@example.com")
        alias = (await self._call("POST", path + query, {"alias": self.secrets[-1]}, token)).body["id"]
        await self._call("DELETE", f"{path}{alias}/{query}", token=token)
        self._expect("chess", "app.changed")
        self._expect(alias, "alias.attached", "alias.removed")


@pytest.fixture
async def actions(front: Front) -> AuditedActions:
    audited = AuditedActions(front)
    await audited.carry_out()
    return audited


async def test_every_action_is_logged_for_the_operator(front: Front, actions: AuditedActions) -> None:
    first, *entries = await read_log(front)
    assert summarise([first]) == [("operator", "operator_token.created", first["subject"])]
    assert first["token_id"] is None, "the command line has no token"
    assert summarise(entries) == actions.expected


async def test_a_publisher_sees_the_entries_about_its_own_objects(
    front: Front, actions: AuditedActions
) -> None:
    entries = await read_log(front, actions.manage_token)
    assert summarise(entries) == actions.publisher_entries
    whole_log = await read_log(front)
    assert entries == [entry for entry in whole_log if entry["publisher_id"] is not None]


async def test_an_entry_holds_the_token_of_its_actor_and_details(
    front: Front, actions: AuditedActions
) -> None:
    first, *entries = await read_log(front)
    publisher_entries = await read_log(front, actions.manage_token)
    tokens = {entry["actor"]: entry["token_id"] for entry in entries}
    assert tokens == {"operator": first["subject"], "publisher": publisher_entries[1]["subject"]}
    details = {entry["action"]: entry["detail"] for entry in publisher_entries}
    assert details["push_token.revoked"] == {"label": "staging", "app_id": "chess"}
    assert details["test_device.changed"] == {"label": "my phone", "failure_domain": "slow"}


async def test_the_log_holds_no_secret(front: Front, actions: AuditedActions) -> None:
    async with front.database.connection() as connection:
        stored = str(await connection.fetch("SELECT audit::text FROM audit"))
    assert "staging" in stored
    for text in (stored, json.dumps(await read_log(front))):
        assert [secret for secret in actions.secrets if secret.lower() in text.lower()] == []
    assert len(actions.secrets) > 10


@pytest.mark.usefixtures("actions")
async def test_entries_about_another_publisher_are_not_listed(front: Front) -> None:
    publisher, manage = await front.publisher("Bob")
    await front.app(publisher)
    entries = await read_log(front, manage)
    assert {entry["publisher_id"] for entry in entries} == {publisher}
    assert [entry["action"] for entry in entries] == [
        "publisher.created",
        "manage_token.created",
        "app.created",
    ]


async def test_requests_that_change_nothing_are_not_logged(front: Front) -> None:
    publisher, manage = await front.publisher()
    app_id = await front.app(publisher)
    body, installation_uuid = front.copy(app_id), uuid4()
    install = await front.install(body, installation_uuid)
    token = (await front.call("POST", f"apps/{app_id}/tokens/", {}, token=manage)).body["id"]
    await front.call("DELETE", f"apps/{app_id}/tokens/{token}/", token=manage)
    device = {"udid": UDID, "label": "my phone", "failure_domain": "slow"}
    listed = (await front.call("POST", "test-devices/", device, token=manage)).body["id"]
    credential = (await front.call("POST", "operator/credentials/", KEY | {"p8": pems.p8()})).body["id"]
    retired = uuid4()
    await front.install(body | {"alongside": "b"}, retired)
    await front.call("DELETE", f"operator/installations/{retired}/")
    allowed = {"installations_attach_aliases": True}
    await front.call("PATCH", f"apps/{app_id}/", allowed, token=manage)
    page = await front.call("GET", f"customers/?app_id={app_id}", token=manage)
    aliases = f"customers/{page.body['items'][0]['customer_id']}/aliases/"
    alias, of_app = {"alias": "secret-anna@example.com"}, f"?app_id={app_id}"
    await front.call("POST", f"{aliases}{of_app}", alias, token=manage)
    before = await read_log(front)

    app = {"publisher_id": publisher, "name": "Chess", "app_id": app_id}
    enrolled = {**body, "installation_uuid": str(installation_uuid)}
    requests: list[tuple[str, str, Any, str | None, int]] = [
        ("GET", "operator/apps/", None, None, 200),
        ("POST", "operator/apps/", app, None, 409),
        ("POST", "operator/apps/", app | {"publisher_id": str(uuid4())}, None, 409),
        ("POST", "operator/publishers/", {"name": ""}, None, 422),
        ("POST", f"operator/publishers/{uuid4()}/tokens/", None, None, 404),
        ("POST", "operator/credentials/", KEY, None, 422),
        ("POST", f"operator/credentials/{credential}/resume/", None, None, 204),
        ("POST", "operator/credentials/99/resume/", None, None, 404),
        ("DELETE", "operator/credentials/99/", None, None, 404),
        ("PUT", f"operator/installations/{installation_uuid}/", body, None, 200),
        ("PUT", f"operator/installations/{installation_uuid}/", body | {"alongside": "c"}, None, 409),
        ("POST", "operator/installations/", {"installations": [enrolled]}, None, 200),
        ("DELETE", f"operator/installations/{retired}/", None, None, 204),
        ("DELETE", f"operator/installations/{uuid4()}/", None, None, 404),
        ("DELETE", f"apps/{app_id}/tokens/{token}/", None, manage, 404),
        ("POST", f"apps/{app_id}/tokens/", {"expires_at": "2020-01-01T00:00:00Z"}, manage, 409),
        ("PATCH", f"apps/{app_id}/", allowed, manage, 200),
        ("PATCH", f"apps/{app_id}/", {}, manage, 200),
        ("PATCH", "apps/nowhere/", allowed, manage, 404),
        ("POST", f"{aliases}{of_app}", alias, manage, 200),
        ("DELETE", f"{aliases}{uuid4()}/{of_app}", None, manage, 404),
        ("POST", "installation/aliases/", {"alias": "secret-bert@example.com"}, install, 201),
        ("DELETE", f"pushes/{uuid4()}/", None, manage, 404),
        ("POST", "test-devices/", device, manage, 409),
        ("PATCH", f"test-devices/{listed}/", device | {"udid": None}, manage, 422),
        ("PATCH", f"test-devices/{listed}/", {"label": "my phone", "failure_domain": "slow"}, manage, 200),
        ("PATCH", f"test-devices/{listed}/", {}, manage, 200),
        ("DELETE", f"test-devices/{uuid4()}/", None, manage, 404),
        ("GET", "installation/", None, install, 200),
        ("PUT", "installation/device-token/", {"device_token": "ab" * 32}, install, 204),
        ("POST", "operator/publishers/", {"name": "Bob"}, manage, 403),
        ("POST", "test-devices/", device, front.operator_token, 403),
    ]
    for method, path, content, token_text, status in requests:
        answer = await front.call(method, path, content, token=token_text)
        assert answer.status == status, (method, path, answer)
    assert await read_log(front) == before


async def test_an_action_that_cannot_be_logged_is_rolled_back(front: Front) -> None:
    publisher, manage = await front.publisher()
    app_id = await front.app(publisher)
    installation_uuid, body = uuid4(), front.copy(app_id)
    await front.install(body, installation_uuid)
    token = (await front.call("POST", f"apps/{app_id}/tokens/", {}, token=manage)).body["id"]
    device = {"udid": UDID, "label": "my phone"}
    listed = (await front.call("POST", "test-devices/", device, token=manage)).body["id"]
    credential = (await front.call("POST", "operator/credentials/", KEY | {"p8": pems.p8()})).body["id"]
    other = {**body, "alongside": "b"}
    actions: list[tuple[str, str, Any, str | None]] = [
        ("POST", "operator/publishers/", {"name": "Bob"}, None),
        ("POST", f"operator/publishers/{publisher}/tokens/", None, None),
        ("POST", "operator/apps/", {"publisher_id": publisher, "name": "Go"}, None),
        ("POST", "operator/credentials/", KEY | {"p8": pems.p8()}, None),
        ("POST", f"operator/credentials/{credential}/resume/", None, None),
        ("DELETE", f"operator/credentials/{credential}/", None, None),
        ("PUT", f"operator/installations/{uuid4()}/", other, None),
        ("PUT", f"operator/installations/{installation_uuid}/", body | {"customer": "another"}, None),
        ("PUT", f"operator/installations/{installation_uuid}/", body | {"app_version": "2"}, None),
        ("DELETE", f"operator/installations/{installation_uuid}/", None, None),
        ("POST", f"apps/{app_id}/tokens/", {}, manage),
        ("DELETE", f"apps/{app_id}/tokens/{token}/", None, manage),
        ("POST", "test-devices/", device | {"udid": front.udid()}, manage),
        ("PATCH", f"test-devices/{listed}/", {"label": "yours"}, manage),
        ("DELETE", f"test-devices/{listed}/", None, manage),
    ]
    tables = ("publisher", "app", "api_token", "credential", "installation", "customer", "test_device")
    async with front.database.connection() as connection:

        async def stored() -> list[Any]:
            return [await connection.fetch(f"SELECT t::text FROM {table} t ORDER BY 1") for table in tables]

        await connection.execute("UPDATE credential SET state = 'suspended'")
        await connection.execute("ALTER TABLE audit ADD CONSTRAINT full_up CHECK (false) NOT VALID")
        before = await stored()
        for method, path, content, token_text in actions:
            answer = await front.call(method, path, content, token=token_text)
            assert answer.status == 500, (method, path, answer)
            assert await stored() == before, (method, path)


async def test_only_the_operator_sees_that_a_device_has_a_new_customer(front: Front) -> None:
    """Entries of one moment in two apps would show their publishers that it is one device."""
    publisher, manage = await front.publisher()
    first, second = await front.app(publisher), await front.app(publisher)
    for app_id in (first, second):
        await front.install(front.copy(app_id))
    before = await read_log(front)
    await front.install(front.copy(first, customer="another"))
    added = (await read_log(front))[len(before) :]
    assert {entry["subject"]: entry["detail"] for entry in added} == {
        first: {"created": 1, "retired": 1},
        second: {"retired": 1},
    }
    assert {entry["publisher_id"] for entry in added} == {None}
    assert "installations.enrolled" not in str(await read_log(front, manage))


async def test_a_bulk_request_is_one_entry_for_each_app(front: Front) -> None:
    app_id = await front.app()
    copies = [
        front.copy(app_id, installation_uuid=str(uuid4()), udid=f"{number:024x}") for number in range(20)
    ]
    for change, detail in (({}, {"created": 20}), ({"app_version": "2"}, {"changed": 20})):
        many = {"installations": [copy | change for copy in copies]}
        assert (await front.call("POST", "operator/installations/", many)).status == 200
        last = (await read_log(front))[-1]
        assert (last["action"], last["subject"], last["detail"]) == ("installations.enrolled", app_id, detail)


async def test_entries_are_listed_in_pages_newest_first(front: Front) -> None:
    _, manage = await front.publisher()
    for number in range(4):
        front.clock.advance(1)
        await front.call("POST", "test-devices/", {"udid": front.udid(), "label": str(number)}, token=manage)
    for token in (None, manage):
        whole = list(reversed(await read_log(front, token)))
        assert [entry["detail"].get("label") for entry in whole[:4]] == ["3", "2", "1", "0"]
        assert [entry["at"] for entry in whole] == sorted((entry["at"] for entry in whole), reverse=True)
        paged, query = [], "?limit=2"
        while query:
            page = (await front.call("GET", f"audit/{query}", token=token)).body
            assert len(page["items"]) <= 2
            paged += page["items"]
            query = f"?limit=2&cursor={page['next']}" if page["next"] else ""
        assert paged == whole
    for query in ("limit=0", "limit=1001", "cursor=0", "cursor=x", "cursor=-1", "cursor=" + "9" * 19):
        assert (await front.call("GET", f"audit/?{query}")).status == 400, query


async def test_push_and_install_tokens_may_not_read_the_log(front: Front) -> None:
    publisher, manage = await front.publisher()
    app_id = await front.app(publisher)
    push = (await front.call("POST", f"apps/{app_id}/tokens/", {}, token=manage)).body["token"]
    install = await front.install(front.copy(app_id))
    for token, status in (("", 401), ("nonsense", 401), (push, 403), (install, 403)):
        assert (await front.call("GET", "audit", token=token)).status == status
