"""Decisions about broadcast channels: their management, on a listener of its own, and pushes to them.

Each decision is synchronous, as in `service`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec

from . import channel_checks
from .channel_checks import ChannelSituation, bundle_of, is_list
from .channels import StandInChannels
from .checks import Peer, Request, first_rejection
from .decisions import DecisionTools
from .provider_tokens import ReceivedProviderToken
from .reasons import Rejection, error_body
from .registry import Environment
from .replies import Reply
from .statistics import Statistics

_log = logging.getLogger(__name__)


class _ChannelService:
    """Checks, refusals and answers of both APIs of channels."""

    def __init__(self, tools: DecisionTools, channels: StandInChannels) -> None:
        self._tools = tools
        self._channels = channels

    @property
    def statistics(self) -> Statistics:
        """The counters of the stand-in."""
        return self._tools.statistics

    def refuse(self, request: Request, rejection: Rejection) -> Reply:
        """Return the reply that refuses a request with `rejection`, without any check."""
        self.statistics.rejected[rejection.reason] += 1
        return self._answer(request, rejection.status, error_body(rejection.reason))

    def _check(
        self,
        rows: Sequence[channel_checks.Check],
        request: Request,
        peer: Peer,
        environment: Environment,
    ) -> tuple[Rejection | None, ReceivedProviderToken | None]:
        """Return the rejection (None: accepted) and the provider token, which an accepted request binds to `peer`."""
        tools = self._tools
        token = tools.verify_token(request, peer)
        situation = ChannelSituation(
            environment,
            tools.registry,
            peer,
            token,
            tools.clock(),
            tools.token_update_seconds,
            self._channels,
        )
        rejection = first_rejection(rows, request, situation)
        if rejection is None and token is not None:
            peer.bind(token)
        return rejection, token

    def _answer(self, request: Request, status: int, body: bytes = b"", **headers: str) -> Reply:
        self.statistics.statuses[status] += 1
        request_id = self._tools.stated_or_new_uuid(request, "apns-request-id")
        named = {"apns_request_id": request_id, **headers}
        sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in named.items()]
        return Reply(status, sent, body)


class ChannelManagement(_ChannelService):
    """Replies of api-manage-broadcast.push.apple.com: create, read, list and delete channels."""

    def reply(self, request: Request, peer: Peer, environment: Environment) -> Reply:
        """Return the reply to a request. An exception of the stand-in becomes a 500 InternalServerError."""
        try:
            return self._reply(request, peer, environment)
        except Exception as error:
            # Its text or traceback may hold a token, so only its type is logged.
            _log.error("cannot answer a request: %s", type(error).__name__)
            return self.refuse(request, Rejection("InternalServerError"))

    def is_removed(self, device_token: str) -> bool:
        """Return False: requests about channels name no device."""
        return False

    def remove_app(self, device_token: str) -> None:
        """Do nothing: requests about channels name no device."""

    def _reply(self, request: Request, peer: Peer, environment: Environment) -> Reply:
        rows = channel_checks.ALL_CHANNELS if is_list(request) else channel_checks.ONE_CHANNEL
        if request.method == "POST" and not is_list(request):
            rows = channel_checks.CREATE
        rejection, _ = self._check(rows, request, peer, environment)
        if rejection is not None:
            return self.refuse(request, rejection)
        bundle_id = bundle_of(request)
        if is_list(request):
            channel_ids = [channel.channel_id for channel in self._channels.of_app(environment, bundle_id)]
            return self._answer(request, 200, msgspec.json.encode({"channels": channel_ids}))
        if request.method == "POST":
            attributes = channel_checks.read_object(request.body) or {}
            message_storage = attributes["message-storage-policy"] == 1
            channel = self._channels.create(environment, bundle_id, message_storage)
            return self._answer(request, 201, apns_channel_id=channel.channel_id)
        channel_id = request.headers["apns-channel-id"]
        if request.method == "DELETE":
            self._channels.delete(channel_id)
            return self._answer(request, 204)
        read = self._channels.find(environment, bundle_id, channel_id)
        assert read is not None  # `channel_registered` checked it
        policy = {"message-storage-policy": int(read.message_storage), "push-type": "LiveActivity"}
        return self._answer(request, 200, msgspec.json.encode(policy))


class Broadcasts(_ChannelService):
    """Replies to pushes to channels, `POST /4/broadcasts/apps/<bundle id>`."""

    def reply(self, request: Request, peer: Peer, environment: Environment) -> Reply:
        """Return the reply to a push; store an accepted push in the channel's inbox."""
        rejection, token = self._check(channel_checks.BROADCAST, request, peer, environment)
        if rejection is not None:
            return self.refuse(request, rejection)
        answer = self._answer(request, 200, apns_unique_id=self._tools.new_uuid())
        channel_id, request_id = request.headers["apns-channel-id"], answer.headers[0][1].decode()
        inbox = self._channels.inbox
        self._tools.deliver(inbox, channel_id, request, peer, token, environment, request_id)
        self.statistics.accepted += 1
        return answer
