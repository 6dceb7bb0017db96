"""`/v1.0/channels/`: broadcast channels, for publishers and for copies that subscribe.

A push token is for the channels of its app, a manage token for those of its publisher. Other channels are not found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from aiohttp import web

from relay.core.accounts import Environment
from relay.core.channels import ChannelOpener, ChannelSendBody, ChannelTopic
from relay.core.delivery.outcomes import Outcome, PushState
from relay.core.install_tokens import InstallTokens
from relay.core.schema import convert, uuid_in_path
from relay.http.authentication import CopyAuthenticator, authenticate
from relay.http.pagination import page_answer, page_request
from relay.http.requests import answer, read_json, route
from relay.service.channels import (
    ChannelBody,
    ChannelService,
    StoredChannelSend,
    check_may_send_to_channels,
    no_channel,
)
from relay.service.rate_limits import TokenRateLimit
from relay.store.accounts.api_tokens import ManageToken, PushToken
from relay.store.channels.records import Channel, ChannelPushReport
from relay.store.database import Database

_OUTCOMES = (Outcome.DELIVERED, Outcome.FAILED, Outcome.EXPIRED)


class ChannelsApi:
    """Endpoints of a publisher for its channels. `rates` limits pushes to channels together with other pushes."""

    def __init__(self, channels: ChannelService, rates: TokenRateLimit) -> None:
        self._channels = channels
        self._rates = rates

    def routes(self) -> Iterable[web.RouteDef]:
        """Return all routes with their handlers."""
        yield from route("POST", "/v1.0/channels/", self.create_channel)
        yield from route("GET", "/v1.0/channels/", self.list_channels)
        yield from route("GET", "/v1.0/channels/{channel_id}/", self.show_channel)
        yield from route("DELETE", "/v1.0/channels/{channel_id}/", self.delete_channel)
        yield from route("POST", "/v1.0/channels/{channel_id}/send/", self.send_to_channel)
        yield from route("GET", "/v1.0/channels/{channel_id}/pushes/{push_id}/", self.show_channel_push)

    async def create_channel(self, request: web.Request) -> web.Response:
        """`POST /v1.0/channels/`: 201 and the channel; 409 if the app has as many as it may have."""
        token = await authenticate(request, PushToken, ManageToken)
        body = convert(await read_json(request), ChannelBody)
        return answer(_show_channel(await self._channels.create_channel(body, token)), 201)

    async def list_channels(self, request: web.Request) -> web.Response:
        """`GET /v1.0/channels/`: 200 and a page of channels, oldest first."""
        token = await authenticate(request, PushToken, ManageToken)
        page = page_request(request, uuid_in_path)
        channels = await self._channels.list_channels(token, page.after, page.one_more)
        return page_answer(page, channels, lambda channel: channel.channel_id, _show_channel)

    async def show_channel(self, request: web.Request) -> web.Response:
        """`GET /v1.0/channels/{channel_id}/`: 200 and the channel."""
        token = await authenticate(request, PushToken, ManageToken)
        return answer(_show_channel(await self._channels.find_channel(_channel_id(request), token)))

    async def delete_channel(self, request: web.Request) -> web.Response:
        """`DELETE /v1.0/channels/{channel_id}/`: 204, and nothing can be sent to it from now on.

        Its channels at Apple are deleted in the background.
        """
        token = await authenticate(request, PushToken, ManageToken)
        await self._channels.delete_channel(_channel_id(request), token)
        return web.Response(status=204)

    async def send_to_channel(self, request: web.Request) -> web.Response:
        """`POST /v1.0/channels/{channel_id}/send/`: 202 once the push is durable."""
        token = await authenticate(request, PushToken)
        check_may_send_to_channels(token)
        headers = self._rates.count_request(token)
        channel = await self._channels.find_channel(_channel_id(request), token)
        body = convert(await read_json(request), ChannelSendBody)
        sent = await self._channels.send_to_channel(channel, body, token)
        return answer(_show_send(sent), status=202, headers=headers)

    async def show_channel_push(self, request: web.Request) -> web.Response:
        """`GET /v1.0/channels/{channel_id}/pushes/{push_id}/`: 200 with state and counts by outcome.

        Each channel at Apple counts as one target.
        """
        token = await authenticate(request, PushToken, ManageToken)
        push_id = uuid_in_path(request.match_info["push_id"])
        report = await self._channels.find_channel_push(_channel_id(request), push_id, token)
        return answer(_show_push(report))


class InstalledChannelsApi:
    """The endpoint where a copy asks for the channel at Apple that it is to subscribe to."""

    def __init__(self, database: Database, install_tokens: InstallTokens, opener: ChannelOpener) -> None:
        self._copies = CopyAuthenticator(database, install_tokens)
        self._opener = opener

    def routes(self) -> Iterable[web.RouteDef]:
        """Return all routes with their handlers."""
        yield from route("GET", "/v1.0/installation/channels/{channel_id}/", self.show_apns_channel)

    async def show_apns_channel(self, request: web.Request) -> web.Response:
        """`GET /v1.0/installation/channels/{channel_id}/`: 200 and the `apns_channel_id` for ActivityKit.

        The channel is created at Apple if there is none for this bundle id.
        """
        copy = (await self._copies.authenticate_copy(request)).installation
        channel_id = _channel_id(request)
        environment = Environment(copy.environment or Environment.PRODUCTION)
        topic = ChannelTopic(copy.team_id, environment, copy.bundle_id)
        apns_channel_id = await self._opener.open_channel(copy.app_id, channel_id, topic)
        if apns_channel_id is None:
            raise no_channel()
        return answer({"apns_channel_id": apns_channel_id})


def _channel_id(request: web.Request) -> UUID:
    return uuid_in_path(request.match_info["channel_id"])


def _show_channel(channel: Channel) -> dict[str, Any]:
    return {
        "id": channel.channel_id,
        "app_id": channel.app_id,
        "message_storage": channel.message_storage,
        "created_at": channel.created_at,
        "bundle_ids": channel.bundle_ids,
    }


def _show_send(sent: StoredChannelSend) -> dict[str, Any]:
    return {
        "success": True,
        "push_id": sent.push_id,
        "targets": sent.targets,
        "warnings": [warning._asdict() for warning in sent.warnings],
        "errors": [],
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
