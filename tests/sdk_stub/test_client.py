"""The SDK against a real relay, and a simulated device against the APNs stand-in's control API."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from apns_standin.client import ControlClient
from apns_standin.stand_in import ApnsStandIn
from sdk_stub.client import BundleInfo, ServicesClient
from sdk_stub.device import SimulatedDevice
from sdk_stub.errors import ApiErrors, NotInstalledViaStore, ServiceNotAvailable, Underlying, Unhandled
from tests.api.front import IDENTIFIERS, TEAM, Front

TOKEN = "ab" * 32


async def installed(front: Front, **changes: object) -> tuple[str, BundleInfo]:
    """Return an app's id and the bundle info of an installed copy of it."""
    app_id, uuid = await front.app(), uuid4()
    return app_id, BundleInfo(uuid, TEAM, await front.install(front.copy(app_id, **changes), uuid))


async def test_a_copy_learns_who_it_is(front: Front) -> None:
    app_id, bundle = await installed(front, alongside="b")
    async with ServicesClient(front.url, bundle) as services:
        assert await services.is_installed_via_appdb()
        customer = await services.get_persistent_customer_identifier()
        assert IDENTIFIERS.is_customer(app_id, customer)
        assert IDENTIFIERS.is_device(app_id, customer, await services.get_persistent_device_identifier())
        assert await services.get_apple_bundle_identifier() == "com.example.chess"
        assert await services.get_appdb_app_identifier() == app_id
        assert await services.get_alongside_identifier() == "b"
        assert await services.get_installation_uuid() == bundle.installation_uuid
        assert await services.get_supported_services_identifiers() == ("push",)
    assert bundle.install_token not in repr(bundle)


async def test_identifiers_are_fetched_once(front: Front) -> None:
    _, bundle = await installed(front)
    async with ServicesClient(front.url, bundle) as services:
        first = await asyncio.gather(*(services.get_persistent_device_identifier() for _ in range(5)))
        await front.client.close()
        assert {*first, await services.get_persistent_device_identifier()} == {first[0]}


async def test_tokens_come_and_go(front: Front) -> None:
    _, bundle = await installed(front)
    async with ServicesClient(front.url, bundle) as services:
        await services.assign_push_token(bytes.fromhex(TOKEN))
        assert await front.tokens() == {TOKEN: ("apns", None)}
        await services.unregister_push_notifications()
        assert await front.tokens() == {TOKEN: ("apns", "withdrawn")}
        with pytest.raises(ApiErrors) as refused:
            await services.assign_push_token(b"short")
        assert [error.pointer for error in refused.value.errors] == ["/device_token"]
        with pytest.raises(ServiceNotAvailable):
            await services.register_push_notifications()  # nobody here gives device tokens


async def test_a_copy_attaches_and_removes_aliases_of_its_customer(front: Front) -> None:
    publisher, manage = await front.publisher()
    app_id, uuid = await front.app(publisher), uuid4()
    bundle = BundleInfo(uuid, TEAM, await front.install(front.copy(app_id), uuid))
    async with ServicesClient(front.url, bundle) as services:
        with pytest.raises(ApiErrors) as refused:
            await services.attach_alias("secret-anna@example.com")
        assert refused.value.status == 403
        may = {"installations_attach_aliases": True}
        await front.call("PATCH", f"apps/{app_id}/", may, token=manage)
        alias = await services.attach_alias("secret-anna@example.com")
        assert await services.attach_alias("SECRET-ANNA@example.com") == alias
        assert await services.get_aliases() == (alias,)
        await services.remove_alias(alias.id)
        assert await services.get_aliases() == ()
        with pytest.raises(ApiErrors) as refused:
            await services.attach_alias("nobody")
        assert [error.pointer for error in refused.value.errors] == ["/alias"]


async def test_a_copy_from_elsewhere(front: Front) -> None:
    for bundle in (None, BundleInfo(uuid4(), TEAM, "install_forged")):
        async with ServicesClient(front.url, bundle) as services:
            assert not await services.is_installed_via_appdb()
            for call in (services.get_appdb_app_identifier(), services.assign_push_token(b"x" * 32)):
                with pytest.raises(NotInstalledViaStore):
                    await call


async def test_a_retired_copy(front: Front) -> None:
    _, bundle = await installed(front)
    async with ServicesClient(front.url, bundle) as services:
        await services.get_persistent_device_identifier()
        await front.call("DELETE", f"operator/installations/{bundle.installation_uuid}/")
        assert not await services.is_installed_via_appdb()
        with pytest.raises(NotInstalledViaStore):
            await services.assign_push_token(bytes.fromhex(TOKEN))


async def test_a_retired_copy_that_finds_out_by_itself(front: Front) -> None:
    _, bundle = await installed(front)
    async with ServicesClient(front.url, bundle) as services:
        await services.get_persistent_device_identifier()
        await front.call("DELETE", f"operator/installations/{bundle.installation_uuid}/")
        with pytest.raises(NotInstalledViaStore):
            await services.unregister_push_notifications()
        with pytest.raises(NotInstalledViaStore):
            await services.get_persistent_device_identifier()


async def test_an_unreachable_relay_and_a_server_that_is_no_relay() -> None:
    bundle = BundleInfo(UUID(int=1), TEAM, "install_x")
    async with ServicesClient("http://127.0.0.1:1", bundle) as services:
        with pytest.raises(Underlying):
            await services.is_installed_via_appdb()

    async def anything(request: web.Request) -> web.Response:
        status = int(request.headers["Authorization"].rpartition("_")[2])
        return web.Response(status=status, text="<html>")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", anything)
    async with TestServer(app) as server:
        for status in (200, 202, 404, 502):
            strange = BundleInfo(UUID(int=1), TEAM, f"install_{status}")
            async with ServicesClient(str(server.make_url("/")), strange) as services:
                with pytest.raises(Unhandled):
                    await services.get_appdb_app_identifier()


async def test_push_may_not_be_offered() -> None:
    async def identity(request: web.Request) -> web.Response:
        return web.json_response(
            {
                "installation_uuid": str(uuid4()),
                "app_id": "chess",
                "customer_id": "c_",
                "device_id": "d_",
                "alongside": "",
                "bundle_id": "com.example.chess",
                "team_id": TEAM,
                "services": ["attest"],
            }
        )

    app = web.Application()
    app.router.add_get("/v1.0/installation/", identity)
    async with TestServer(app) as server:
        services = ServicesClient(str(server.make_url("/")), BundleInfo(uuid4(), TEAM, "install_x"))
        async with services:
            with pytest.raises(ServiceNotAvailable, match="push"):
                await services.assign_push_token(b"x" * 32)


async def test_a_simulated_device_registers_like_a_real_one(front: Front) -> None:
    _, bundle = await installed(front, environment="sandbox")
    async with (
        ApnsStandIn() as apns,
        ControlClient(apns.control_url) as control,
        SimulatedDevice(front.url, bundle, control) as device,
    ):
        await device.launch()
        token = device.device_token
        assert token is not None
        await device.launch()
        assert await front.tokens() == {token: ("apns", None)}
        [known] = await control.devices()
        assert (known["bundle_id"], known["team_id"], known["environment"]) == (
            "com.example.chess",
            TEAM,
            "sandbox",
        )
        assert await device.receive(0) == []
        await device.delete_app()
        assert device.device_token is None
