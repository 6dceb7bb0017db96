"""Control API: the operations of the stand-in over plain HTTP and JSON.

Each handler reads its arguments, calls one method of `StandInOperations` and returns the result. Errors are
application/problem+json (RFC 9457) with a `code`. The API has no authentication: bind it to the loopback.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from itertools import islice
from typing import Annotated, Final, TypeVar

import msgspec
from aiohttp import web

from .answers import ScriptedAnswer
from .errors import InvalidError, NotFoundError, StandInError
from .faults import ListenerFault
from .operations import StandInOperations
from .receipts import Receipt
from .registry import ENVIRONMENTS, Environment

_log = logging.getLogger(__name__)

MAX_BODY_BYTES: Final = 8 * 1024 * 1024
"""Room for a prescribed answer's body of 1 MiB characters."""
MAX_TOKENS: Final = 100_000
"""Device tokens issued by one request: a benchmark needs many."""
RECEIPTS_PER_WRITE: Final = 5_000
"""Receipts encoded in one piece, so that a million of them do not block the listeners."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Body = TypeVar("Body")


class KeyOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /teams/{team_id}/keys`."""

    environment: Environment | None = None


class CertificateOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /teams/{team_id}/certificates`."""

    bundle_id: str
    environment: Environment | None = None


class TopicOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `PUT /topics/{bundle_id}`: the new team of the bundle identifier."""

    team_id: str


class DeviceOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /devices`. With `count` the answer holds the list `device_tokens`."""

    bundle_id: str
    team_id: str
    environment: Environment
    kind: str = "apns"
    count: Annotated[int, msgspec.Meta(ge=1, le=MAX_TOKENS)] | None = None


class Removal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `DELETE /devices/{token}`: the time of removal, epoch ms; None: now."""

    timestamp: Annotated[int, msgspec.Meta(ge=0)] | None = None


class ControlServer:
    """HTTP server of the control API of one stand-in."""

    def __init__(self, stand_in: StandInOperations) -> None:
        self.port = 0
        self._stand_in = stand_in
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int, *, fallback: bool) -> None:
        """Listen on `host` and `port`. Port 0 takes any free port; with `fallback` a taken port does too."""
        runner = self._runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            if not (fallback and port and error.errno == errno.EADDRINUSE):
                raise
            await web.TCPSite(runner, host, 0).start()
        self.port = runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop serving."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[_problems], client_max_size=MAX_BODY_BYTES)
        application.router.add_routes(
            [
                web.get("/healthz", self._health),
                web.get("/statistics", self._statistics),
                web.get("/notifications", self._feed),
                web.post("/teams/{team_id}/keys", self._issue_key),
                web.delete("/teams/{team_id}/keys/{key_id}", self._revoke_key),
                web.post("/teams/{team_id}/certificates", self._issue_certificate),
                web.put("/topics/{bundle_id}", self._register_topic),
                web.post("/devices", self._issue_device_tokens),
                web.get("/devices", self._devices),
                web.delete("/devices/{token}", self._unregister),
                web.get("/devices/{token}/notifications", self._notifications),
                web.put("/devices/{token}/answer", self._set_answer),
                web.delete("/devices/{token}/answer", self._clear_answer),
                web.get("/channels", self._channels),
                web.get("/channels/notifications", self._channel_notifications),
                web.delete("/channels", self._delete_channel),
                web.get("/receipts", self._receipts),
                web.get("/receipts/unregistered", self._unregistered),
                web.get("/listeners/{environment}/faults", self._faults),
                web.post("/listeners/{environment}/faults", self._set_fault),
                web.delete("/listeners/{environment}/faults", self._clear_faults),
            ]
        )
        return application

    async def _health(self, _: web.Request) -> web.Response:
        return _json({"status": "ok"})

    async def _statistics(self, _: web.Request) -> web.Response:
        return _json(self._stand_in.statistics())

    async def _feed(self, request: web.Request) -> web.Response:
        return _json(await self._stand_in.feed(_whole_number(request, "after"), _seconds(request, "wait")))

    async def _issue_key(self, request: web.Request) -> web.Response:
        order = await _body(request, KeyOrder)
        return _json(self._stand_in.issue_key(request.match_info["team_id"], order.environment), 201)

    async def _revoke_key(self, request: web.Request) -> web.Response:
        self._stand_in.revoke_key(request.match_info["team_id"], request.match_info["key_id"])
        return web.Response(status=204)

    async def _issue_certificate(self, request: web.Request) -> web.Response:
        order = await _body(request, CertificateOrder)
        pem = self._stand_in.issue_certificate(
            request.match_info["team_id"], order.bundle_id, order.environment
        )
        return _json({"certificate": pem}, 201)

    async def _register_topic(self, request: web.Request) -> web.Response:
        order = await _body(request, TopicOrder)
        self._stand_in.register_topic(request.match_info["bundle_id"], order.team_id, transfer=True)
        return web.Response(status=204)

    async def _issue_device_tokens(self, request: web.Request) -> web.Response:
        order = await _body(request, DeviceOrder)
        tokens = [
            self._stand_in.issue_device_token(
                order.bundle_id, order.team_id, order.environment, order.kind
            ).token
            for _ in range(order.count or 1)
        ]
        return _json({"device_token": tokens[0]} if order.count is None else {"device_tokens": tokens}, 201)

    async def _devices(self, _: web.Request) -> web.Response:
        return _json(self._stand_in.devices())

    async def _unregister(self, request: web.Request) -> web.Response:
        timestamp = (await _body(request, Removal)).timestamp
        if timestamp is None and "timestamp" in request.query:
            timestamp = _whole_number(request, "timestamp")
        self._stand_in.unregister(request.match_info["token"], timestamp)
        return web.Response(status=204)

    async def _notifications(self, request: web.Request) -> web.Response:
        return _json(
            await self._stand_in.notifications(
                request.match_info["token"], _whole_number(request, "after"), _seconds(request, "wait")
            )
        )

    async def _set_answer(self, request: web.Request) -> web.Response:
        self._stand_in.script(request.match_info["token"], await _body(request, ScriptedAnswer))
        return web.Response(status=204)

    async def _clear_answer(self, request: web.Request) -> web.Response:
        self._stand_in.clear_answer(request.match_info["token"])
        return web.Response(status=204)

    async def _channels(self, _: web.Request) -> web.Response:
        return _json(self._stand_in.channels())

    async def _channel_notifications(self, request: web.Request) -> web.Response:
        # Identifiers of channels are base64 and may contain slashes: they stand in the query.
        return _json(
            await self._stand_in.channel_notifications(
                request.query.get("channel_id", ""),
                _whole_number(request, "after"),
                _seconds(request, "wait"),
            )
        )

    async def _delete_channel(self, request: web.Request) -> web.Response:
        self._stand_in.delete_channel(request.query.get("channel_id", ""))
        return web.Response(status=204)

    async def _receipts(self, request: web.Request) -> web.StreamResponse:
        # One line per notification: apns-id, device token, number of times it was accepted.
        receipts = self._stand_in.receipts.all()
        # The first part is read before the answer begins, so that a ConflictError still becomes a problem.
        first = _receipt_lines(list(islice(receipts, RECEIPTS_PER_WRITE)))
        response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
        await response.prepare(request)
        await response.write(first)
        while part := list(islice(receipts, RECEIPTS_PER_WRITE)):
            await response.write(_receipt_lines(part))
        await response.write_eof()
        return response

    async def _unregistered(self, _: web.Request) -> web.Response:
        return _json(self._stand_in.receipts.unregistered_times())

    async def _faults(self, request: web.Request) -> web.Response:
        return _json(self._stand_in.listeners[_environment(request)].faults.active())

    async def _set_fault(self, request: web.Request) -> web.Response:
        await self._stand_in.set_fault(await _body(request, ListenerFault), _environment(request))
        return web.Response(status=204)

    async def _clear_faults(self, request: web.Request) -> web.Response:
        await self._stand_in.clear_faults(_environment(request), request.query.get("kind"))
        return web.Response(status=204)


@web.middleware
async def _problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every exception into a problem document."""
    try:
        return await handler(request)
    except StandInError as error:
        return _problem(error.status, error.code, error.detail)
    except web.HTTPException as error:
        response = _problem(error.status, HTTPStatus(error.status).name.lower(), error.reason)
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response
    except Exception as error:
        _log.error("the control API failed: %s", type(error).__name__)
        return _problem(500, "internal", "the stand-in failed; its log names the error")


async def _body(request: web.Request, kind: type[Body]) -> Body:
    """Return the body as `kind`; an empty body counts as `{}`. Raises InvalidError, which names the field."""
    try:
        return msgspec.json.decode(await request.read() or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidError(f"body: {error}") from error


def _environment(request: web.Request) -> Environment:
    name = request.match_info["environment"]
    for environment in ENVIRONMENTS:
        if environment == name:
            return environment
    raise NotFoundError("there is no such listener")


def _receipt_lines(receipts: list[Receipt]) -> bytes:
    return "".join(
        f"{receipt.apns_id} {receipt.device_token} {receipt.count}\n" for receipt in receipts
    ).encode()


def _whole_number(request: web.Request, name: str) -> int:
    text = request.query.get(name, "0")
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise InvalidError(f"{name}: must be a whole number, not negative")
    return int(text)


def _seconds(request: web.Request, name: str) -> float:
    try:
        seconds = float(request.query.get(name, "0"))
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 60:
        raise InvalidError(f"{name}: must be between 0 and 60 seconds")
    return seconds


def _json(document: object, status: int = 200) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(document), status=status, content_type="application/json", charset="utf-8"
    )


def _problem(status: int, code: str, detail: str) -> web.Response:
    document = {"status": status, "title": HTTPStatus(status).phrase, "code": code, "detail": detail}
    return web.Response(
        body=msgspec.json.encode(document), status=status, content_type="application/problem+json"
    )
