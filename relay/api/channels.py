"""`/v1.0/channels/`: broadcast channels, for publishers and for copies that subscribe.

A push token is for the channels of its app, a manage token for those of its publisher. Other channels are not found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from aiohttp import web

from relay.core.accounts import Environment
from relay.core.channels import ChannelOpener, ChannelPush, ChannelSendBody, ChannelTopic, check_channel_push
from relay.core.clock import Clock, Random
from relay.core.delivery.outcomes import Outcome, PushState
from relay.core.errors import Conflict, Fault, Forbidden, NotFound
from relay.core.ids import PushId, new_uuid7
from relay.core.install_tokens import InstallTokens
from relay.core.push.request import Lifetimes
from relay.core.schema import AppIdText, convert, uuid_in_path
from relay.http.authentication import CopyAuthenticator, authenticate
from relay.http.pagination import page_answer, page_request
from relay.http.requests import answer, read_json, route
from relay.service.rate_limits import TokenRateLimit
from relay.store.accounts.api_tokens import ManageToken, PushToken
from relay.store.channels.channel_pushes import ChannelPushRepository
from relay.store.channels.channels import MAX_CHANNELS_PER_APP, ChannelRepository
from relay.store.channels.records import Channel, ChannelPushReport
from relay.store.database import Database
from relay.telemetry import counts

_OUTCOMES = (Outcome.DELIVERED, Outcome.FAILED, Outcome.EXPIRED)
_NOT_FOUND = "There is no such channel."
_NO_SUBSCRIBERS = Fault("unreachable", "", "No copy of the app has asked for this channel.")


class _ChannelBody(msgspec.Struct, forbid_unknown_fields=True):
    app_id: AppIdText
    message_storage: bool = False


class ChannelsApi:
    """Endpoints of a publisher for its channels.

    `max_waiting` limits the deliveries of one app in the queue. `on_work` is called when there are new ones.
    """

    def __init__(
        self,
        database: Database,
        lifetimes: Lifetimes,
        rates: TokenRateLimit,
        max_waiting: int,
        on_work: Callable[[], None],
        clock: Clock,
        random: Random,
    ) -> None:
        self._channels = ChannelRepository(database)
        self._pushes = ChannelPushRepository(database)
        self._lifetimes = lifetimes
        self._rates = rates
        self._max_waiting = max_waiting
        self._on_work = on_work
        self._clock = clock
        self._random = random

    def routes(self) -> Iterable[web.RouteDef]:
        """Return all routes with their handlers."""
        yield from route("POST", "/v1.0/channels/", self.create_channel)
        yield from route("GET", "/v1.0/channels/", self.list_channels)
        yield from route("GET", "/v1.0/channels/{channel_id}/", self.show)
        yield from route("DELETE", "/v1.0/channels/{channel_id}/", self.delete_channel)
        yield from route("POST", "/v1.0/channels/{channel_id}/send/", self.send_to_channel)
        yield from route("GET", "/v1.0/channels/{channel_id}/pushes/{push_id}/", self.show_channel_push)

    async def create_channel(self, request: web.Request) -> web.Response:
        """`POST /v1.0/channels/`: 201 and the channel; 409 if the app has as many as it may have."""
        token = await authenticate(request, PushToken, ManageToken)
        body = convert(await read_json(request), _ChannelBody)
        if body.app_id not in await self._app_ids(token):
            raise NotFound("There is no such app.")
        now = self._clock.now()
        channel = Channel(body.app_id, new_uuid7(now, self._random), body.message_storage, now)
        if not await self._channels.create_channel(channel, token.publisher_id, token.actor):
            detail = f"The app has {MAX_CHANNELS_PER_APP} channels. Delete those of events that are over."
            raise Conflict(faults=[Fault("too_many", "/app_id", detail)])
        return answer(_show_channel(channel), 201)

    async def list_channels(self, request: web.Request) -> web.Response:
        """`GET /v1.0/channels/`: 200 and a page of channels, oldest first."""
        token = await authenticate(request, PushToken, ManageToken)
        page = page_request(request, uuid_in_path)
        channels = await self._channels.list_channels(await self._app_ids(token), page.after, page.one_more)
        return page_answer(page, channels, lambda channel: channel.channel_id, _show_channel)

    async def show(self, request: web.Request) -> web.Response:
        """`GET /v1.0/channels/{channel_id}/`: 200 and the channel."""
        return answer(
            _show_channel(
                await self._channel_in_path(await authenticate(request, PushToken, ManageToken), request)
            )
        )

    async def delete_channel(self, request: web.Request) -> web.Response:
        """`DELETE /v1.0/channels/{channel_id}/`: 204, and nothing can be sent to it from now on.

        Its channels at Apple are deleted in the background.
        """
        token = await authenticate(request, PushToken, ManageToken)
        channel = await self._channel_in_path(token, request)
        now = self._clock.now()
        if not await self._channels.delete_channel(
            channel.app_id, channel.channel_id, token.publisher_id, now, token.actor
        ):
            raise NotFound(_NOT_FOUND)
        self._on_work()
        return web.Response(status=204)

    async def send_to_channel(self, request: web.Request) -> web.Response:
        """`POST /v1.0/channels/{channel_id}/send/`: 202 once the push is durable."""
        token = await authenticate(request, PushToken)
        if token.test_only:
            raise Forbidden("This token reaches listed test devices only, and a channel has none of its own.")
        limits = self._rates.count_request(token)
        channel = await self._channel_in_path(token, request)
        body = convert(await read_json(request), ChannelSendBody)
        now = self._clock.now()
        checked = check_channel_push(
            body, message_storage=channel.message_storage, now=now, lifetimes=self._lifetimes
        )
        push = ChannelPush(
            PushId(new_uuid7(now, self._random)),
            token.token_id,
            now,
            checked.expires_at,
            checked.headers,
            checked.payload,
        )
        targets = await self._pushes.store_channel_push(
            channel.app_id, channel.channel_id, push, self._max_waiting
        )
        if targets is None:
            raise NotFound(_NOT_FOUND)
        counts.accepted(1, "channel")
        warnings = [*checked.warnings]
        if targets:
            self._on_work()
        else:
            warnings.append(_NO_SUBSCRIBERS)
        return answer(
            {
                "success": True,
                "push_id": push.push_id,
                "targets": targets,
                "warnings": [warning._asdict() for warning in warnings],
                "errors": [],
            },
            status=202,
            headers=limits,
        )

    async def show_channel_push(self, request: web.Request) -> web.Response:
        """`GET /v1.0/channels/{channel_id}/pushes/{push_id}/`: 200 with state and counts by outcome.

        Each channel at Apple counts as one target.
        """
        token = await authenticate(request, PushToken, ManageToken)
        app_ids = await self._app_ids(token)
        channel_id, push_id = (uuid_in_path(request.match_info[name]) for name in ("channel_id", "push_id"))
        report = await self._pushes.find_channel_push(app_ids, channel_id, push_id)
        if report is None:
            raise NotFound("There is no such push.")
        return answer(_show_push(report))

    async def _app_ids(self, token: PushToken | ManageToken) -> list[str]:
        """Return the apps whose channels the caller may see."""
        if isinstance(token, PushToken):
            return [token.app_id]
        return await self._channels.list_app_ids(token.publisher_id)

    async def _channel_in_path(self, token: PushToken | ManageToken, request: web.Request) -> Channel:
        channel_id = uuid_in_path(request.match_info["channel_id"])
        channel = await self._channels.find_channel(await self._app_ids(token), channel_id)
        if channel is None:
            raise NotFound(_NOT_FOUND)
        return channel


class InstalledChannelsApi:
    """The endpoint where a copy asks for the channel at Apple that it is to subscribe to."""

    def __init__(self, database: Database, install_tokens: InstallTokens, opener: ChannelOpener) -> None:
        self._copies = CopyAuthenticator(database, install_tokens)
        self._opener = opener

    def routes(self) -> Iterable[web.RouteDef]:
        """Return all routes with their handlers."""
        yield from route("GET", "/v1.0/installation/channels/{channel_id}/", self.show)

    async def show(self, request: web.Request) -> web.Response:
        """`GET /v1.0/installation/channels/{channel_id}/`: 200 and the `apns_channel_id` for ActivityKit.

        The channel is created at Apple if there is none for this bundle id.
        """
        copy = (await self._copies.authenticate_copy(request)).installation
        channel_id = uuid_in_path(request.match_info["channel_id"])
        environment = Environment(copy.environment or Environment.PRODUCTION)
        topic = ChannelTopic(copy.team_id, environment, copy.bundle_id)
        apns_channel_id = await self._opener.open(copy.app_id, channel_id, topic)
        if apns_channel_id is None:
            raise NotFound(_NOT_FOUND)
        return answer({"apns_channel_id": apns_channel_id})


def _show_channel(channel: Channel) -> dict[str, Any]:
    return {
        "id": channel.channel_id,
        "app_id": channel.app_id,
        "message_storage": channel.message_storage,
        "created_at": channel.created_at,
        "bundle_ids": channel.bundle_ids,
    }


def _show_push(report: ChannelPushReport) -> dict[str, Any]:
    push = report.push
    counts = Counter[str](dict.fromkeys(_OUTCOMES, 0))
    reasons: Counter[str] = Counter()
    for outcome, reason, count in report.outcomes:
        counts[outcome] += count
        if outcome != Outcome.DELIVERED:
            reasons[reason] += count
    pending = push.targets - counts.total()
    return {
        "push_id": push.push_id,
        "channel_id": push.channel_id,
        "app_id": push.app_id,
        "state": PushState.DONE if not pending else PushState.SENDING if counts.total() else PushState.QUEUED,
        "created_at": push.created_at,
        "expires_at": push.expires_at,
        "priority": push.priority,
        "expiration": push.expiration,
        "targets": push.targets,
        "counts": {**counts, "pending": pending},
        "reasons": dict(reasons),
    }
