"""What a publisher does with a manage_ token: its apps, their push tokens, and its test devices.

What belongs to another publisher is not found.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple
from uuid import UUID

import msgspec
from aiohttp import web

from relay.core.clock import Clock, Random
from relay.core.errors import Conflict, Fault, Invalid, NotFound
from relay.core.ids import new_id
from relay.core.schema import FailureDomain, Label, Name, Udid, app_id_in_path, convert, uuid_in_path
from relay.core.udid import UdidDigests
from relay.http.pagination import page_answer, page_request
from relay.http.requests import answer, authenticate, read_json, route
from relay.store.accounts.api_tokens import TokenDescription, TokenIssuer
from relay.store.accounts.auth import ApiTokens, NewToken
from relay.store.accounts.registry import App, PublisherRepository
from relay.store.accounts.test_devices import TestDevice, TestDevices
from relay.store.database import Database
from relay.store.operations.audit import Actor


class TokenBody(msgspec.Struct, forbid_unknown_fields=True):
    """A push token that is to be made."""

    label: Label = ""
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    test_only: bool = False
    broadcast: bool = False

    def checked(self, publisher_id: UUID, app_id: str, now: datetime) -> NewToken:
        """The token for that app. Raises Conflict or Invalid naming the field."""
        expires_at = _in_utc(self.expires_at)
        if expires_at is not None and expires_at <= now:
            raise Conflict(faults=[Fault("conflict", "/expires_at", "This time has passed.")])
        return NewToken(
            kind="push",
            publisher_id=publisher_id,
            app_id=app_id,
            label=self.label,
            test_only=self.test_only,
            broadcast=self.broadcast,
            expires_at=expires_at,
        )


class AppChange(msgspec.Struct, forbid_unknown_fields=True):
    """What is to be changed of an app; None stays as it is."""

    installations_attach_aliases: bool | None = None


class TestDeviceBody(msgspec.Struct, forbid_unknown_fields=True):
    """A device that is to be listed."""

    __test__ = False  # not a test, whatever pytest thinks of its name

    udid: Udid
    label: Name
    failure_domain: FailureDomain = "ok"


class TestDeviceChange(msgspec.Struct, forbid_unknown_fields=True):
    """What is to be changed of a test device; None stays as it is."""

    __test__ = False

    label: Name | None = None
    failure_domain: FailureDomain | None = None


class _PublisherCaller(NamedTuple):
    publisher_id: UUID
    actor: Actor


class PublisherApi:
    """`/v1.0/apps/` and `/v1.0/test-devices/`. `api_tokens` forgets what was revoked."""

    def __init__(
        self,
        database: Database,
        api_tokens: ApiTokens,
        udid_digests: UdidDigests,
        clock: Clock,
        random: Random,
    ) -> None:
        self._registry = PublisherRepository(database)
        self._test_devices = TestDevices(database)
        self._issuer = TokenIssuer(database, clock, random)
        self._api_tokens = api_tokens
        self._udid_digests = udid_digests
        self._clock = clock
        self._random = random

    def routes(self) -> Iterable[web.RouteDef]:
        """All routes, each with its handler."""
        yield from route("GET", "/v1.0/apps/", self.list_apps)
        yield from route("PATCH", "/v1.0/apps/{app_id}/", self.change_app)
        yield from route("POST", "/v1.0/apps/{app_id}/tokens/", self.add_token)
        yield from route("GET", "/v1.0/apps/{app_id}/tokens/", self.list_tokens)
        yield from route("DELETE", "/v1.0/apps/{app_id}/tokens/{token_id}/", self.revoke_token)
        yield from route("POST", "/v1.0/test-devices/", self.add_test_device)
        yield from route("GET", "/v1.0/test-devices/", self.list_test_devices)
        yield from route("PATCH", "/v1.0/test-devices/{test_device_id}/", self.change_test_device)
        yield from route("DELETE", "/v1.0/test-devices/{test_device_id}/", self.remove_test_device)

    # --- apps and their push tokens ---

    async def list_apps(self, request: web.Request) -> web.Response:
        """A page of the publisher's apps, by app_id."""
        caller = await _caller(request)
        page = page_request(request, app_id_in_path)
        apps = await self._registry.apps(page.after or "", page.one_more, caller.publisher_id)
        return page_answer(page, apps, lambda item: item.app_id, _show_app)

    async def change_app(self, request: web.Request) -> web.Response:
        """200 and the app, changed."""
        caller = await _caller(request)
        app_id = app_id_in_path(request.match_info["app_id"])
        body = convert(await read_json(request), AppChange)
        app = await self._registry.change_app(
            caller.publisher_id, app_id, body.installations_attach_aliases, self._clock.now(), caller.actor
        )
        if app is None:
            raise NotFound("There is no such app.")
        return answer(_show_app(app))

    async def add_token(self, request: web.Request) -> web.Response:
        """201 {"id", "token", "label", "test_only", "broadcast", "created_at", "expires_at"}: the token, this once."""
        caller, app_id = await self._own_app(request)
        body = convert(await read_json(request), TokenBody)
        new = body.checked(caller.publisher_id, app_id, self._clock.now())
        issued = await self._issuer.issue(new, caller.actor)
        shown = {
            "id": issued.token_id,
            "token": issued.text,
            "label": new.label,
            "test_only": new.test_only,
            "broadcast": new.broadcast,
            "created_at": issued.created_at,
            "expires_at": new.expires_at,
        }
        return answer(shown, 201)

    async def list_tokens(self, request: web.Request) -> web.Response:
        """A page of the app's push tokens that are not revoked, oldest first, without the tokens."""
        _, app_id = await self._own_app(request)
        page = page_request(request, uuid_in_path)
        tokens = await self._issuer.of_app(app_id, page.after, page.one_more)
        return page_answer(page, tokens, lambda item: item.token_id, _show_token)

    async def revoke_token(self, request: web.Request) -> web.Response:
        """204: the token is refused from now on."""
        caller, app_id = await self._own_app(request)
        token_id = uuid_in_path(request.match_info["token_id"])
        if not await self._issuer.revoke(app_id, token_id, caller.actor):
            raise NotFound("The app has no such token.")
        self._api_tokens.revoked()
        return web.Response(status=204)

    async def _own_app(self, request: web.Request) -> tuple[_PublisherCaller, str]:
        caller = await _caller(request)
        app_id = app_id_in_path(request.match_info["app_id"])
        if not await self._registry.owns(caller.publisher_id, app_id):
            raise NotFound("There is no such app.")
        return caller, app_id

    # --- test devices ---

    async def add_test_device(self, request: web.Request) -> web.Response:
        """201 {"id", "label", "failure_domain", "created_at"}; 409 if the device is listed already."""
        caller = await _caller(request)
        body = convert(await read_json(request), TestDeviceBody)
        now = self._clock.now()
        device = TestDevice(new_id(now, self._random), body.label, body.failure_domain, now)
        udid_digest = self._udid_digests.of(body.udid)
        if not await self._test_devices.add(caller.publisher_id, udid_digest, device, caller.actor):
            raise already_listed()
        return answer(_show_test_device(device), 201)

    async def list_test_devices(self, request: web.Request) -> web.Response:
        """A page of the publisher's test devices, oldest first."""
        caller = await _caller(request)
        page = page_request(request, uuid_in_path)
        devices = await self._test_devices.page(caller.publisher_id, page.after, page.one_more)
        return page_answer(page, devices, lambda item: item.test_device_id, _show_test_device)

    async def change_test_device(self, request: web.Request) -> web.Response:
        """200 and the test device with another label or failure domain."""
        caller = await _caller(request)
        test_device_id = uuid_in_path(request.match_info["test_device_id"])
        body = convert(await read_json(request), TestDeviceChange)
        device = await self._test_devices.change(
            caller.publisher_id,
            test_device_id,
            body.label,
            body.failure_domain,
            self._clock.now(),
            caller.actor,
        )
        if device is None:
            raise NotFound("There is no such test device.")
        return answer(_show_test_device(device))

    async def remove_test_device(self, request: web.Request) -> web.Response:
        """204: the device is off the list."""
        caller = await _caller(request)
        test_device_id = uuid_in_path(request.match_info["test_device_id"])
        now = self._clock.now()
        if not await self._test_devices.remove(caller.publisher_id, test_device_id, now, caller.actor):
            raise NotFound("There is no such test device.")
        return web.Response(status=204)


def already_listed() -> Conflict:
    """The device is a test device already, or there are as many as there may be."""
    return Conflict(faults=[Fault("conflict", "/udid", "The device is listed, or the list is full.")])


async def _caller(request: web.Request) -> _PublisherCaller:
    token = await authenticate(request, "manage")
    assert token.publisher_id is not None  # every manage_ token is stored with its publisher
    return _PublisherCaller(token.publisher_id, token.actor)


def _in_utc(moment: datetime | None) -> datetime | None:
    try:
        return moment and moment.astimezone(UTC)
    except OverflowError:  # the first or the last hours of the calendar, in another zone
        raise Invalid(
            faults=[Fault("invalid_value", "/expires_at", "There is no such time in UTC.")]
        ) from None


def _show_app(app: App) -> dict[str, Any]:
    return {
        "app_id": app.app_id,
        "name": app.name,
        "created_at": app.created_at,
        "installations_attach_aliases": app.installations_attach_aliases,
    }


def _show_token(token: TokenDescription) -> dict[str, Any]:
    return {
        "id": token.token_id,
        "label": token.label,
        "test_only": token.test_only,
        "broadcast": token.broadcast,
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "last_used_at": token.last_used_at,
    }


def _show_test_device(device: TestDevice) -> dict[str, Any]:
    return {
        "id": device.test_device_id,
        "label": device.label,
        "failure_domain": device.failure_domain,
        "created_at": device.created_at,
    }
