"""The endpoints of webhooks: made, listed, tested, removed; and where they may not lead."""

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


class Publisher:
    """A publisher with an app."""

    def __init__(self, front: Front, token: str, app_id: str) -> None:
        self.front = front
        self.token = token
        self.path = f"apps/{app_id}/webhooks/"

    async def call(self, method: str, rest: str = "", body: Any = None) -> Answer:
        return await self.front.call(method, self.path + rest, body, token=self.token)

    async def make(self, url: str = URL, events: Any = None) -> Answer:
        return await self.call("POST", "", {"url": url, "events": EVENTS if events is None else events})

    async def shown(self) -> list[dict[str, Any]]:
        listed = await self.call("GET")
        assert listed.status == 200, listed
        return list(listed.body["items"])


async def publisher(front: Front) -> Publisher:
    publisher_id, token = await front.publisher()
    return Publisher(front, token, await front.app(publisher_id))


@pytest.fixture
async def ada(front: Front) -> Publisher:
    return await publisher(front)


@pytest.fixture
async def trying(database: Database) -> AsyncIterator[Publisher]:
    """Of a store that allows private addresses."""
    opened = await open_front(database, allow_private=True)
    yield await publisher(opened)
    await opened.client.close()


async def test_made_and_listed(ada: Publisher) -> None:
    made = await ada.make(events=["push.completed", "push.completed", "delivery.failed"])
    assert made.status == 201
    assert made.body["secret"].startswith("whsec_")
    assert made.body["events"] == ["delivery.failed", "push.completed"]
    other = await ada.make(URL + "?two")
    assert other.body["secret"] != made.body["secret"]
    first, second = sorted(await ada.shown(), key=lambda shown: len(shown["url"]))
    assert first == {
        "id": made.body["id"],
        "url": URL,
        "events": ["delivery.failed", "push.completed"],
        "state": "active",
        "created_at": made.body["created_at"],
        "disabled_at": None,
        "failures": 0,
        "failing_since": None,
        "last_attempt_at": None,
        "last_status": None,
        "last_error": None,
        "waiting": 0,
        "given_up": 0,
    }
    assert second["id"] == other.body["id"]
    ids = sorted((made.body["id"], other.body["id"]))  # made in the same millisecond: in no other order
    page = await ada.call("GET", "?limit=1")
    assert [item["id"] for item in page.body["items"]] == ids[:1]
    rest = await ada.call("GET", f"?limit=1&cursor={page.body['next']}")
    assert ([item["id"] for item in rest.body["items"]], rest.body["next"]) == (ids[1:], None)


async def test_a_removed_webhook_is_gone(ada: Publisher) -> None:
    made, other = await ada.make(), await ada.make(URL + "?two")
    assert (await ada.call("DELETE", f"{made.body['id']}/")).status == 204
    assert (await ada.call("DELETE", f"{made.body['id']}/")).status == 404
    assert (await ada.call("POST", f"{made.body['id']}/test/")).status == 404
    assert [one["id"] for one in await ada.shown()] == [other.body["id"]]


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
async def test_a_bad_one_is_refused_and_nothing_stored(
    ada: Publisher, body: dict[str, Any], code: str, pointer: str
) -> None:
    refused = await ada.call("POST", "", body)
    assert (refused.status, refused.faults) == (422, [(code, pointer)]), refused
    assert await ada.shown() == []


async def test_ten_at_most(ada: Publisher) -> None:
    made = [(await ada.make(f"{URL}?{n}")).status for n in range(11)]
    assert made == [201] * 10 + [409]
    assert len(await ada.shown()) == 10


async def test_another_publishers_are_not_found(ada: Publisher, front: Front) -> None:
    made = (await ada.make()).body["id"]
    eve = await publisher(front)
    for path in (ada.path, eve.path):
        for method, rest in (("DELETE", f"{made}/"), ("POST", f"{made}/test/")):
            assert (await front.call(method, path + rest, token=eve.token)).status == 404
    assert (await front.call("GET", ada.path, token=eve.token)).status == 404
    body = {"url": URL, "events": EVENTS}
    assert (await front.call("POST", ada.path, body, token=eve.token)).status == 404
    assert len(await ada.shown()) == 1


async def test_all_of_it_is_in_the_audit_log_without_path_and_secret(ada: Publisher) -> None:
    made = (await ada.make("https://chess.example/known-to-nobody")).body
    await ada.call("DELETE", f"{made['id']}/")
    log = await ada.front.call("GET", "audit/", token=ada.token)
    assert [(one["action"], one["subject"]) for one in log.body["items"][:2]] == [
        ("webhook.removed", made["id"]),
        ("webhook.created", made["id"]),
    ]
    assert log.body["items"][0]["detail"]["host"] == "chess.example"
    assert "known-to-nobody" not in str(log.body)
    assert made["secret"] not in str(log.body)


# --- tests of a webhook ---


async def test_a_test_arrives_and_says_so(trying: Publisher) -> None:
    async with Receiver() as receiver:
        made = (await trying.make(receiver.url("hook"))).body
        receiver.secrets["hook"] = made["secret"]
        # The clock of the test's relay stands still elsewhere, and a message's time is checked.
        trying.front.clock.moment = datetime.now(UTC)
        tested = await trying.call("POST", f"{made['id']}/test/")
        assert tested.status == 200
        assert (tested.body["delivered"], tested.body["status"], tested.body["error"]) == (True, 204, None)
        [message] = receiver.messages
    assert (message.id, message.type) == (tested.body["message_id"], "webhook.test")
    assert message.data["webhook_id"] == made["id"]
    [shown] = await trying.shown()
    assert (shown["last_status"], shown["state"]) == (204, "active")


async def test_a_test_that_fails_says_why(trying: Publisher) -> None:
    async with Receiver() as receiver:
        receiver.always["hook"] = 500
        made = (await trying.make(receiver.url("hook"))).body
        tested = await trying.call("POST", f"{made['id']}/test/")
    assert (tested.status, tested.body["delivered"], tested.body["status"]) == (200, False, 500)
    [shown] = await trying.shown()
    assert (shown["last_status"], shown["last_error"]) == (500, "The answer was 500.")
    tested = await trying.call("POST", f"{made['id']}/test/")
    assert (tested.body["status"], "refuses the connection" in tested.body["error"]) == (None, True)


async def test_a_disabled_webhook_is_active_again_after_a_good_test(trying: Publisher) -> None:
    async with Receiver() as receiver:
        receiver.answers["hook"] = [500]
        made = (await trying.make(receiver.url("hook"))).body
        async with trying.front.database.connection() as connection:
            await connection.execute(
                "UPDATE webhook SET disabled_at = now(), failures = 9, failing_since = now()"
            )
        await trying.call("POST", f"{made['id']}/test/")
        assert [one["state"] for one in await trying.shown()] == ["disabled"]
        for _ in range(2):
            await trying.call("POST", f"{made['id']}/test/")
            [shown] = await trying.shown()
            assert (shown["state"], shown["failures"], shown["disabled_at"]) == ("active", 0, None)
    log = await trying.front.call("GET", "audit/", token=trying.token)
    assert [one["action"] for one in log.body["items"]].count("webhook.enabled") == 1


async def test_who_tests_too_often_is_refused(trying: Publisher) -> None:
    async with Receiver() as receiver:
        made = (await trying.make(receiver.url("hook"))).body
        answers = [await trying.call("POST", f"{made['id']}/test/") for _ in range(11)]
        assert [one.status for one in answers[:10]] == [200] * 10
        assert answers[10].status == 429
        assert int(answers[10].headers["Retry-After"]) >= 1
        assert receiver.requests["hook"] == 10


async def test_a_stored_url_that_is_not_allowed_any_more_is_not_called(
    trying: Publisher, front: Front
) -> None:
    """As after the operator took `webhooks.allow_private` away."""
    async with Receiver() as receiver:
        made = (await trying.make(receiver.url("hook"))).body
        tested = await front.call("POST", f"{trying.path}{made['id']}/test/", token=trying.token)
        assert (tested.status, tested.body["delivered"]) == (200, False)
        assert not receiver.requests
