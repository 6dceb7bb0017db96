"""Webhooks of an app, as its publisher creates, lists, tests and removes them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from relay.store.database import Database
from tests.api.front import Answer, Front, open_front
from tests.receiver import Receiver

URL = "https://chess.example/push-events"
EVENTS = ["push.completed", "delivery.failed", "device.unregistered"]


class WebhookOwner:
    """A publisher with an app, and the webhooks of that app."""

    def __init__(self, front: Front, token: str, app_id: str) -> None:
        self.front = front
        self.token = token
        self.path = f"apps/{app_id}/webhooks/"

    async def call(self, method: str, rest: str = "", body: Any = None) -> Answer:
        return await self.front.call(method, self.path + rest, body, token=self.token)

    async def create(self, url: str = URL, events: Any = None) -> Answer:
        return await self.call("POST", "", {"url": url, "events": EVENTS if events is None else events})

    async def list_webhooks(self) -> list[dict[str, Any]]:
        listed = await self.call("GET")
        assert listed.status == 200, listed
        return list(listed.body["items"])


async def open_owner(front: Front) -> WebhookOwner:
    publisher_id, token = await front.publisher()
    return WebhookOwner(front, token, await front.app(publisher_id))


@pytest.fixture
async def ada(front: Front) -> WebhookOwner:
    return await open_owner(front)


@pytest.fixture
async def private_owner(database: Database) -> AsyncIterator[WebhookOwner]:
    """Return the owner of an app whose operator allows webhooks in private networks."""
    opened = await open_front(database, allow_private=True)
    yield await open_owner(opened)
    await opened.client.close()


async def test_a_webhook_is_created_with_a_secret_of_its_own(ada: WebhookOwner) -> None:
    created = await ada.create(events=["push.completed", "push.completed", "delivery.failed"])
    assert created.status == 201
    assert created.body["secret"].startswith("whsec_")
    assert created.body["events"] == ["delivery.failed", "push.completed"]
    other = await ada.create(URL + "?two")
    assert other.body["secret"] != created.body["secret"]


async def test_a_webhook_is_listed_with_its_health_and_without_its_secret(ada: WebhookOwner) -> None:
    created = await ada.create(events=["push.completed", "delivery.failed"])
    assert await ada.list_webhooks() == [
        {
            "id": created.body["id"],
            "url": URL,
            "events": ["delivery.failed", "push.completed"],
            "state": "active",
            "created_at": created.body["created_at"],
            "disabled_at": None,
            "failures": 0,
            "failing_since": None,
            "last_attempt_at": None,
            "last_status": None,
            "last_error": None,
            "waiting": 0,
            "given_up": 0,
        }
    ]


async def test_webhooks_are_listed_in_pages(ada: WebhookOwner) -> None:
    # Both are created in one millisecond, so their order is that of their ids.
    ids = sorted([(await ada.create(f"{URL}?{number}")).body["id"] for number in range(2)])
    page = await ada.call("GET", "?limit=1")
    assert [item["id"] for item in page.body["items"]] == ids[:1]
    rest = await ada.call("GET", f"?limit=1&cursor={page.body['next']}")
    assert ([item["id"] for item in rest.body["items"]], rest.body["next"]) == (ids[1:], None)


async def test_a_removed_webhook_is_not_found(ada: WebhookOwner) -> None:
    created, other = await ada.create(), await ada.create(URL + "?two")
    assert (await ada.call("DELETE", f"{created.body['id']}/")).status == 204
    assert (await ada.call("DELETE", f"{created.body['id']}/")).status == 404
    assert (await ada.call("POST", f"{created.body['id']}/test/")).status == 404
    assert [item["id"] for item in await ada.list_webhooks()] == [other.body["id"]]


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        ({"events": EVENTS}, "missing_field", "/url"),
        ({"url": URL}, "missing_field", "/events"),
        ({"url": URL, "events": EVENTS, "secret": "mine"}, "unknown_field", "/secret"),
        ({"url": URL, "events": []}, "invalid_value", "/events"),
        ({"url": URL, "events": "push.completed"}, "wrong_type", "/events"),
        ({"url": URL, "events": ["push.completed", "push.started"]}, "invalid_value", "/events/1"),
        ({"url": 1, "events": EVENTS}, "wrong_type", "/url"),
        ({"url": "", "events": EVENTS}, "invalid_value", "/url"),
        ({"url": "ftp://chess.example/", "events": EVENTS}, "invalid_value", "/url"),
        ({"url": "https://chess.example/a b", "events": EVENTS}, "invalid_value", "/url"),
        ({"url": "https://chess.example/\n", "events": EVENTS}, "invalid_value", "/url"),
        ({"url": "https://bücher.example/", "events": EVENTS}, "invalid_value", "/url"),
        ({"url": "https://chess.example/" + "x" * 2000, "events": EVENTS}, "invalid_value", "/url"),
        ({"url": "https://me:secret-word@chess.example/", "events": EVENTS}, "invalid_value", "/url"),
        ({"url": "http://chess.example/", "events": EVENTS}, "invalid_value", "/url"),
        ({"url": "https://127.0.0.1/", "events": EVENTS}, "invalid_value", "/url"),
        ({"url": "https://[::1]:8080/", "events": EVENTS}, "invalid_value", "/url"),
        ({"url": "https://169.254.169.254/latest/meta-data/", "events": EVENTS}, "invalid_value", "/url"),
    ],
)
async def test_an_invalid_webhook_is_refused_and_not_stored(
    ada: WebhookOwner, body: dict[str, Any], code: str, pointer: str
) -> None:
    refused = await ada.call("POST", "", body)
    assert (refused.status, refused.faults) == (422, [(code, pointer)]), refused
    assert await ada.list_webhooks() == []


async def test_an_app_has_at_most_ten_webhooks(ada: WebhookOwner) -> None:
    statuses = [(await ada.create(f"{URL}?{n}")).status for n in range(11)]
    assert statuses == [201] * 10 + [409]
    assert len(await ada.list_webhooks()) == 10


async def test_webhooks_of_another_publisher_are_not_found(ada: WebhookOwner, front: Front) -> None:
    webhook_id = (await ada.create()).body["id"]
    eve = await open_owner(front)
    for path in (ada.path, eve.path):
        for method, rest in (("DELETE", f"{webhook_id}/"), ("POST", f"{webhook_id}/test/")):
            assert (await front.call(method, path + rest, token=eve.token)).status == 404
    assert (await front.call("GET", ada.path, token=eve.token)).status == 404
    body = {"url": URL, "events": EVENTS}
    assert (await front.call("POST", ada.path, body, token=eve.token)).status == 404
    assert len(await ada.list_webhooks()) == 1


async def test_the_audit_log_holds_the_host_without_path_and_secret(ada: WebhookOwner) -> None:
    created = (await ada.create("https://chess.example/secret-path")).body
    await ada.call("DELETE", f"{created['id']}/")
    log = await ada.front.call("GET", "audit/", token=ada.token)
    assert [(entry["action"], entry["subject"]) for entry in log.body["items"][:2]] == [
        ("webhook.removed", created["id"]),
        ("webhook.created", created["id"]),
    ]
    assert log.body["items"][0]["detail"]["host"] == "chess.example"
    assert "secret-path" not in str(log.body)
    assert created["secret"] not in str(log.body)


# --- tests of a webhook ---


async def test_a_delivered_test_returns_the_status(private_owner: WebhookOwner) -> None:
    async with Receiver() as receiver:
        created = (await private_owner.create(receiver.url("hook"))).body
        receiver.secrets["hook"] = created["secret"]
        # The receiver checks the time of a message, and the clock of this relay stands still.
        private_owner.front.clock.moment = datetime.now(UTC)
        tested = await private_owner.call("POST", f"{created['id']}/test/")
        assert tested.status == 200
        assert (tested.body["delivered"], tested.body["status"], tested.body["error"]) == (True, 204, None)
        [message] = receiver.messages
    assert (message.id, message.type) == (tested.body["message_id"], "webhook.test")
    assert message.data["webhook_id"] == created["id"]
    [shown] = await private_owner.list_webhooks()
    assert (shown["last_status"], shown["state"]) == (204, "active")


async def test_a_failed_test_returns_the_reason(private_owner: WebhookOwner) -> None:
    async with Receiver() as receiver:
        receiver.always["hook"] = 500
        created = (await private_owner.create(receiver.url("hook"))).body
        tested = await private_owner.call("POST", f"{created['id']}/test/")
    assert (tested.status, tested.body["delivered"], tested.body["status"]) == (200, False, 500)
    [shown] = await private_owner.list_webhooks()
    assert (shown["last_status"], shown["last_error"]) == (500, "The answer was 500.")
    tested = await private_owner.call("POST", f"{created['id']}/test/")
    assert (tested.body["status"], "refuses the connection" in tested.body["error"]) == (None, True)


async def test_a_delivered_test_enables_a_disabled_webhook(private_owner: WebhookOwner) -> None:
    async with Receiver() as receiver:
        receiver.answers["hook"] = [500]
        created = (await private_owner.create(receiver.url("hook"))).body
        async with private_owner.front.database.connection() as connection:
            await connection.execute(
                "UPDATE webhook SET disabled_at = now(), failures = 9, failing_since = now()"
            )
        await private_owner.call("POST", f"{created['id']}/test/")
        assert [item["state"] for item in await private_owner.list_webhooks()] == ["disabled"]
        for _ in range(2):
            await private_owner.call("POST", f"{created['id']}/test/")
            [shown] = await private_owner.list_webhooks()
            assert (shown["state"], shown["failures"], shown["disabled_at"]) == ("active", 0, None)
    log = await private_owner.front.call("GET", "audit/", token=private_owner.token)
    assert [entry["action"] for entry in log.body["items"]].count("webhook.enabled") == 1


async def test_tests_are_limited_for_each_token(private_owner: WebhookOwner) -> None:
    async with Receiver() as receiver:
        created = (await private_owner.create(receiver.url("hook"))).body
        answers = [await private_owner.call("POST", f"{created['id']}/test/") for _ in range(11)]
        assert [answer.status for answer in answers[:10]] == [200] * 10
        assert answers[10].status == 429
        assert int(answers[10].headers["Retry-After"]) >= 1
        assert receiver.requests["hook"] == 10


async def test_a_stored_url_is_checked_again_before_a_test(private_owner: WebhookOwner, front: Front) -> None:
    """As after the operator removed `webhooks.allow_private`."""
    async with Receiver() as receiver:
        created = (await private_owner.create(receiver.url("hook"))).body
        tested = await front.call(
            "POST", f"{private_owner.path}{created['id']}/test/", token=private_owner.token
        )
        assert (tested.status, tested.body["delivered"]) == (200, False)
        assert not receiver.requests
