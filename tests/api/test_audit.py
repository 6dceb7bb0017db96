"""Who did what: all of it for the operator, its own for a publisher, and never a secret."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

from tests.api import pems
from tests.api.front import TEAM, Answer, Front

UDID = "00008030-001C2D223A80802E"
KEY = {"team_id": TEAM, "environment": "production", "key_id": "KEY0000001"}


async def log(front: Front, token: str | None = None, query: str = "") -> list[dict[str, Any]]:
    """The entries, oldest first."""
    answer = await front.call("GET", f"audit/{query}", token=token)
    assert answer.status == 200, answer
    return list(reversed(answer.body["items"]))


def told(entries: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [(entry["actor"], entry["action"], entry["subject"]) for entry in entries]


class Done:
    """Every action there is, once, with everything secret that was given or made on the way."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self.secrets: list[str] = [UDID, UDID.replace("-", ""), "the customer's reference", "ab" * 32]
        self.expected: list[tuple[str, str, str]] = []
        self.own: list[tuple[str, str, str]] = []
        """Those of the publisher's own log."""

    async def call(self, method: str, path: str, body: Any = None, token: str | None = None) -> Answer:
        answer = await self._front.call(method, path, body, token=token)
        assert answer.status < 300, answer
        for name in ("token", "manage_token", "install_token", "secret"):
            if answer.body and name in answer.body:
                self.secrets.append(answer.body[name])
        return answer

    def expect(self, actor: str, action: str, subject: object, *, own: bool = True) -> None:
        self.expected.append((actor, action, str(subject)))
        if own:
            self.own.append(self.expected[-1])

    async def everything(self) -> str:
        """Do it all; the publisher's manage_ token."""
        made = (await self.call("POST", "operator/publishers/", {"name": "Ada"})).body
        publisher, manage = made["id"], made["manage_token"]
        self.expect("operator", "publisher.created", publisher)
        [first] = [e for e in await log(self._front, manage) if e["action"] == "manage_token.created"]
        self.expect("operator", "manage_token.created", first["subject"])
        more = await self.call("POST", f"operator/publishers/{publisher}/tokens/")
        self.expect("operator", "manage_token.created", more.body["id"])
        app = {"publisher_id": publisher, "name": "Chess", "app_id": "chess"}
        await self.call("POST", "operator/apps/", app)
        self.expect("operator", "app.created", "chess")

        token = await self.call("POST", "apps/chess/tokens/", {"label": "staging"}, manage)
        self.expect("publisher", "push_token.created", token.body["id"])
        await self.call("DELETE", f"apps/chess/tokens/{token.body['id']}/", token=manage)
        self.expect("publisher", "push_token.revoked", token.body["id"])
        device = await self.call("POST", "test-devices/", {"udid": UDID, "label": "my phone"}, manage)
        one = f"test-devices/{device.body['id']}/"
        await self.call("PATCH", one, {"failure_domain": "slow"}, manage)
        await self.call("DELETE", one, token=manage)
        for action in ("added", "changed", "removed"):
            self.expect("publisher", f"test_device.{action}", device.body["id"])

        hook = {"url": "https://chess.example/known-to-nobody", "events": ["push.completed"]}
        webhook = (await self.call("POST", "apps/chess/webhooks/", hook, manage)).body["id"]
        await self.call("DELETE", f"apps/chess/webhooks/{webhook}/", token=manage)
        self.secrets.append("known-to-nobody")
        for action in ("created", "removed"):
            self.expect("publisher", f"webhook.{action}", webhook)

        key = pems.p8()
        self.secrets += key.splitlines()[1:-1]
        credential = (await self.call("POST", "operator/credentials/", KEY | {"p8": key})).body["id"]
        async with self._front.database.connection() as connection:
            await connection.execute("UPDATE credential SET state = 'suspended'")
        await self.call("POST", f"operator/credentials/{credential}/resume/")
        await self.call("DELETE", f"operator/credentials/{credential}/")
        for action in ("put", "resumed", "removed"):
            self.expect("operator", f"credential.{action}", credential, own=False)

        copy = self._front.copy("chess", customer="the customer's reference", udid=UDID)
        uuid, other = uuid4(), uuid4()
        installed = await self.call("PUT", f"operator/installations/{uuid}/", copy)
        await self._front.register(installed.body["install_token"], "ab" * 32)
        many = {"installations": [copy | {"installation_uuid": str(other), "alongside": "b"}]}
        answer = await self.call("POST", "operator/installations/", many)
        self.secrets.append(answer.body["installations"][0]["install_token"])
        await self.call("DELETE", f"operator/installations/{uuid}/")
        self.expect("operator", "installations.enrolled", "chess", own=False)
        self.expect("operator", "installations.enrolled", "chess", own=False)
        self.expect("operator", "installation.retired", uuid, own=False)

        await self.call("PATCH", "apps/chess/", {"installations_attach_aliases": True}, manage)
        self.expect("publisher", "app.changed", "chess")
        page = await self.call("GET", "customers/?app_id=chess", token=manage)
        aliases = f"customers/{page.body['items'][0]['customer_id']}/aliases/"
        self.secrets.append("secret-anna@example.com")
        alias = await self.call("POST", f"{aliases}?app_id=chess", {"alias": self.secrets[-1]}, manage)
        await self.call("DELETE", f"{aliases}{alias.body['id']}/?app_id=chess", token=manage)
        for action in ("attached", "removed"):
            self.expect("publisher", f"alias.{action}", alias.body["id"])
        return str(manage)


async def test_every_action_is_logged_for_those_it_concerns(front: Front) -> None:
    done = Done(front)
    manage = await done.everything()
    first, *entries = await log(front)
    assert told([first]) == [("operator", "operator_token.created", first["subject"])]
    assert first["token_id"] is None, "the command line has no token"
    assert told(entries) == done.expected
    own = await log(front, manage)
    assert told(own) == done.own
    assert own == [entry for entry in entries if entry["publisher_id"] is not None]
    by_actor = {entry["actor"]: entry["token_id"] for entry in entries}
    assert by_actor == {"operator": first["subject"], "publisher": own[1]["subject"]}
    details = {entry["action"]: entry["detail"] for entry in own}
    assert details["push_token.revoked"] == {"label": "staging", "app_id": "chess"}
    assert details["test_device.changed"] == {"label": "my phone", "failure_domain": "slow"}


async def test_it_holds_no_secret(front: Front) -> None:
    done = Done(front)
    await done.everything()
    async with front.database.connection() as connection:
        stored = str(await connection.fetch("SELECT audit::text FROM audit"))
    assert "staging" in stored
    for text in (stored, json.dumps(await log(front))):
        assert [secret for secret in done.secrets if secret.lower() in text.lower()] == []
    assert len(done.secrets) > 10


async def test_another_publishers_log_is_not_there(front: Front) -> None:
    await Done(front).everything()
    publisher, manage = await front.publisher("Bob")
    await front.app(publisher)
    entries = await log(front, manage)
    assert {entry["publisher_id"] for entry in entries} == {publisher}
    assert [entry["action"] for entry in entries] == [
        "publisher.created",
        "manage_token.created",
        "app.created",
    ]


async def test_what_changes_nothing_is_not_logged(front: Front) -> None:
    publisher, manage = await front.publisher()
    app_id = await front.app(publisher)
    body, uuid = front.copy(app_id), uuid4()
    install = await front.install(body, uuid)
    token = (await front.call("POST", f"apps/{app_id}/tokens/", {}, token=manage)).body["id"]
    await front.call("DELETE", f"apps/{app_id}/tokens/{token}/", token=manage)
    device = {"udid": UDID, "label": "my phone", "failure_domain": "slow"}
    listed = (await front.call("POST", "test-devices/", device, token=manage)).body["id"]
    credential = (await front.call("POST", "operator/credentials/", KEY | {"p8": pems.p8()})).body["id"]
    retired = uuid4()
    await front.install(body | {"alongside": "b"}, retired)
    await front.call("DELETE", f"operator/installations/{retired}/")
    may = {"installations_attach_aliases": True}
    await front.call("PATCH", f"apps/{app_id}/", may, token=manage)
    page = await front.call("GET", f"customers/?app_id={app_id}", token=manage)
    aliases = f"customers/{page.body['items'][0]['customer_id']}/aliases/"
    alias, of_app = {"alias": "secret-anna@example.com"}, f"?app_id={app_id}"
    await front.call("POST", f"{aliases}{of_app}", alias, token=manage)
    before = await log(front)

    app = {"publisher_id": publisher, "name": "Chess", "app_id": app_id}
    enrolled = {**body, "installation_uuid": str(uuid)}
    nothing: list[tuple[str, str, Any, str | None, int]] = [
        ("GET", "operator/apps/", None, None, 200),
        ("POST", "operator/apps/", app, None, 409),
        ("POST", "operator/apps/", app | {"publisher_id": str(uuid4())}, None, 409),
        ("POST", "operator/publishers/", {"name": ""}, None, 422),
        ("POST", f"operator/publishers/{uuid4()}/tokens/", None, None, 404),
        ("POST", "operator/credentials/", KEY, None, 422),
        ("POST", f"operator/credentials/{credential}/resume/", None, None, 204),
        ("POST", "operator/credentials/99/resume/", None, None, 404),
        ("DELETE", "operator/credentials/99/", None, None, 404),
        ("PUT", f"operator/installations/{uuid}/", body, None, 200),
        ("PUT", f"operator/installations/{uuid}/", body | {"alongside": "c"}, None, 409),
        ("POST", "operator/installations/", {"installations": [enrolled]}, None, 200),
        ("DELETE", f"operator/installations/{retired}/", None, None, 204),
        ("DELETE", f"operator/installations/{uuid4()}/", None, None, 404),
        ("DELETE", f"apps/{app_id}/tokens/{token}/", None, manage, 404),
        ("POST", f"apps/{app_id}/tokens/", {"expires_at": "2020-01-01T00:00:00Z"}, manage, 409),
        ("PATCH", f"apps/{app_id}/", may, manage, 200),
        ("PATCH", f"apps/{app_id}/", {}, manage, 200),
        ("PATCH", "apps/nowhere/", may, manage, 404),
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
    for method, path, content, token_text, status in nothing:
        answer = await front.call(method, path, content, token=token_text)
        assert answer.status == status, (method, path, answer)
    assert await log(front) == before


async def test_what_cannot_be_logged_does_not_happen(front: Front) -> None:
    publisher, manage = await front.publisher()
    app_id = await front.app(publisher)
    uuid, body = uuid4(), front.copy(app_id)
    await front.install(body, uuid)
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
        ("PUT", f"operator/installations/{uuid}/", body | {"customer": "another"}, None),
        ("PUT", f"operator/installations/{uuid}/", body | {"app_version": "2"}, None),
        ("DELETE", f"operator/installations/{uuid}/", None, None),
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


async def test_a_device_that_changes_hands_is_told_to_the_operator_alone(front: Front) -> None:
    """Entries of two apps at the same moment would tell their publishers that it is the same device."""
    publisher, manage = await front.publisher()
    first, second = await front.app(publisher), await front.app(publisher)
    for app_id in (first, second):
        await front.install(front.copy(app_id))
    before = await log(front)
    await front.install(front.copy(first, customer="another"))
    new = (await log(front))[len(before) :]
    assert {entry["subject"]: entry["detail"] for entry in new} == {
        first: {"created": 1, "retired": 1},
        second: {"retired": 1},
    }
    assert {entry["publisher_id"] for entry in new} == {None}
    assert "installations.enrolled" not in str(await log(front, manage))


async def test_a_thousand_copies_are_one_entry(front: Front) -> None:
    app_id = await front.app()
    copies = [
        front.copy(app_id, installation_uuid=str(uuid4()), udid=f"{number:024x}") for number in range(20)
    ]
    for change, detail in (({}, {"created": 20}), ({"app_version": "2"}, {"changed": 20})):
        many = {"installations": [copy | change for copy in copies]}
        assert (await front.call("POST", "operator/installations/", many)).status == 200
        last = (await log(front))[-1]
        assert (last["action"], last["subject"], last["detail"]) == ("installations.enrolled", app_id, detail)


async def test_it_comes_in_pages_newest_first(front: Front) -> None:
    _, manage = await front.publisher()
    for number in range(4):
        front.clock.advance(1)
        await front.call("POST", "test-devices/", {"udid": front.udid(), "label": str(number)}, token=manage)
    for token in (None, manage):
        whole = list(reversed(await log(front, token)))
        assert [entry["detail"].get("label") for entry in whole[:4]] == ["3", "2", "1", "0"]
        assert [entry["at"] for entry in whole] == sorted((entry["at"] for entry in whole), reverse=True)
        seen, query = [], "?limit=2"
        while query:
            page = (await front.call("GET", f"audit/{query}", token=token)).body
            assert len(page["items"]) <= 2
            seen += page["items"]
            query = f"?limit=2&cursor={page['next']}" if page["next"] else ""
        assert seen == whole
    for query in ("limit=0", "limit=1001", "cursor=0", "cursor=x", "cursor=-1", "cursor=" + "9" * 19):
        assert (await front.call("GET", f"audit/?{query}")).status == 400, query


async def test_who_may_not_read_it(front: Front) -> None:
    publisher, manage = await front.publisher()
    app_id = await front.app(publisher)
    push = (await front.call("POST", f"apps/{app_id}/tokens/", {}, token=manage)).body["token"]
    install = await front.install(front.copy(app_id))
    for token, status in (("", 401), ("nonsense", 401), (push, 403), (install, 403)):
        assert (await front.call("GET", "audit", token=token)).status == status
