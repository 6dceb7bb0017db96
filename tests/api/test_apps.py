"""A publisher's apps, as it sees and changes them."""

from __future__ import annotations

from tests.api.front import Front


async def test_a_publisher_sees_its_own_apps_in_pages(front: Front) -> None:
    publisher, manage_token = await front.publisher()
    other_publisher, other_token = await front.publisher("Bob")
    app_ids = sorted([await front.app(publisher) for _ in range(3)])
    other_app = await front.app(other_publisher)
    listed = await front.call("GET", "apps/", token=manage_token)
    assert [item["app_id"] for item in listed.body["items"]] == app_ids
    assert set(listed.body["items"][0]) == {"app_id", "name", "created_at", "installations_attach_aliases"}
    page = await front.call("GET", "apps?limit=2", token=manage_token)
    rest = await front.call("GET", f"apps/?cursor={page.body['next']}", token=manage_token)
    assert [item["app_id"] for item in rest.body["items"]] == app_ids[2:]
    listed = await front.call("GET", "apps/", token=other_token)
    assert [item["app_id"] for item in listed.body["items"]] == [other_app]


async def test_a_publisher_allows_copies_to_attach_aliases(front: Front) -> None:
    publisher, manage_token = await front.publisher()
    path = f"apps/{await front.app(publisher)}/"
    allowed = {"installations_attach_aliases": True}
    for change, expected in (({}, False), (allowed, True), ({}, True)):
        answer = await front.call("PATCH", path, change, token=manage_token)
        assert (answer.status, answer.body["installations_attach_aliases"]) == (200, expected), change
    [listed] = (await front.call("GET", "apps/", token=manage_token)).body["items"]
    assert listed["installations_attach_aliases"] is True


async def test_a_change_of_an_app_is_in_the_audit_log_once(front: Front) -> None:
    publisher, manage_token = await front.publisher()
    app_id = await front.app(publisher)
    for change in ({}, {"installations_attach_aliases": True}, {"installations_attach_aliases": True}):
        await front.call("PATCH", f"apps/{app_id}/", change, token=manage_token)
    entries = (await front.call("GET", "audit/", token=manage_token)).body["items"]
    assert [entry["subject"] for entry in entries if entry["action"] == "app.changed"] == [app_id]


async def test_a_change_of_the_wrong_type_is_refused(front: Front) -> None:
    publisher, manage_token = await front.publisher()
    path = f"apps/{await front.app(publisher)}/"
    answer = await front.call("PATCH", path, {"installations_attach_aliases": "yes"}, token=manage_token)
    assert (answer.status, answer.faults) == (422, [("wrong_type", "/installations_attach_aliases")])
