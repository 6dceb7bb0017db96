"""The two APIs of broadcast channels: their management, on a listener of its own, and pushes to them.

Everything is decided synchronously, as in `service`.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Sequence

import msgspec

from . import channel_checks
from .channel_checks import ChannelSituation, bundle_of, is_list
from .channels import StandInChannels
from .checks import UUID_FORM, Peer, Request
from .inbox import Notification
from .provider_tokens import ReceivedProviderToken, Verifier
from .reasons import Rejection, error_body
from .registry import Environment, StandInRegistry
from .replies import REDACTED, Reply
from .statistics import Statistics

_log = logging.getLogger(__name__)


class _ChannelDesk:
    """What both APIs have in common: who asks, and how a refusal looks."""

    def __init__(
        self,
        registry: StandInRegistry,
        channels: StandInChannels,
        statistics: Statistics,
        *,
        clock: Callable[[], float],
        random_bytes: Callable[[int], bytes],
        token_update_seconds: float,
    ) -> None:
        self.statistics = statistics
        self._registry = registry
        self._channels = channels
        self._clock = clock
        self._random_bytes = random_bytes
        self._token_update_seconds = token_update_seconds
        self._verifier = Verifier(registry)

    def refuse(self, request: Request, rejection: Rejection) -> Reply:
        """The reply that does not do what is asked, whatever the checks would say."""
        self.statistics.rejected[rejection.reason] += 1
        return self._answer(request, rejection.status, error_body(rejection.reason))

    def _judge(
        self,
        rows: Sequence[channel_checks.Check],
        request: Request,
        peer: Peer,
        environment: Environment,
    ) -> tuple[Rejection | None, ReceivedProviderToken | None]:
        """Why it is refused, or None; and the provider token, which then binds the connection."""
        bearer = request.bearer
        token = self._verifier.verify(bearer) if bearer is not None and peer.certificate is None else None
        situation = ChannelSituation(
            environment,
            self._registry,
            peer,
            token,
            self._clock(),
            self._token_update_seconds,
            self._channels,
        )
        rejection = channel_checks.judge(rows, request, situation)
        if rejection is None and token is not None:
            peer.bind(token)
        return rejection, token

    def _answer(self, request: Request, status: int, body: bytes = b"", **headers: str) -> Reply:
        self.statistics.statuses[status] += 1
        named = {"apns_request_id": self._request_id(request), **headers}
        sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in named.items()]
        return Reply(status, sent, body)

    def _request_id(self, request: Request) -> str:
        stated = request.headers.get("apns-request-id", "")
        return stated if UUID_FORM.fullmatch(stated) else self._uuid()

    def _uuid(self) -> str:
        return str(uuid.UUID(bytes=self._random_bytes(16), version=4))


class Management(_ChannelDesk):
    """What plays api-manage-broadcast.push.apple.com: channels are made, read, listed and deleted."""

    def reply(self, request: Request, peer: Peer, environment: Environment) -> Reply:
        """The reply to a request. A fault of ours is Apple's 500, and never the connection's end."""
        try:
            return self._reply(request, peer, environment)
        except Exception as error:
            _log.error("cannot answer a request: %s", type(error).__name__)
            return self.refuse(request, Rejection("InternalServerError"))

    def is_removed(self, device_token: str) -> bool:
        """No device is named here."""
        return False

    def remove_app(self, device_token: str) -> None:
        """No device is named here."""

    def _reply(self, request: Request, peer: Peer, environment: Environment) -> Reply:
        rows = channel_checks.ALL_CHANNELS if is_list(request) else channel_checks.ONE_CHANNEL
        if request.method == "POST" and not is_list(request):
            rows = channel_checks.CREATE
        rejection, _ = self._judge(rows, request, peer, environment)
        if rejection is not None:
            return self.refuse(request, rejection)
        bundle_id = bundle_of(request)
        if is_list(request):
            found = [one.channel_id for one in self._channels.of_app(environment, bundle_id)]
            return self._answer(request, 200, msgspec.json.encode({"channels": found}))
        if request.method == "POST":
            wanted = channel_checks.read_object(request.body) or {}
            storage = wanted["message-storage-policy"] == 1
            channel = self._channels.create(environment, bundle_id, storage)
            return self._answer(request, 201, apns_channel_id=channel.channel_id)
        channel_id = request.headers["apns-channel-id"]
        if request.method == "DELETE":
            self._channels.delete(channel_id)
            return self._answer(request, 204)
        read = self._channels.find(environment, bundle_id, channel_id)
        assert read is not None  # checked
        policy = {"message-storage-policy": int(read.message_storage), "push-type": "LiveActivity"}
        return self._answer(request, 200, msgspec.json.encode(policy))


class Broadcasts(_ChannelDesk):
    """Pushes to channels, `POST /4/broadcasts/apps/<bundle id>`."""

    def reply(self, request: Request, peer: Peer, environment: Environment) -> Reply:
        """The reply to a push."""
        rejection, token = self._judge(channel_checks.BROADCAST, request, peer, environment)
        if rejection is not None:
            return self.refuse(request, rejection)
        answer = self._answer(request, 200, apns_unique_id=self._uuid())
        self._publish(request, peer, token, environment, answer.headers[0][1].decode())
        self.statistics.accepted += 1
        return answer

    def _publish(
        self,
        request: Request,
        peer: Peer,
        token: ReceivedProviderToken | None,
        environment: Environment,
        request_id: str,
    ) -> None:
        headers = request.headers
        channel_id = headers["apns-channel-id"]
        if "authorization" in headers:
            headers["authorization"] = REDACTED
        team_id = token.team_id if token is not None else peer.certificate.team_id if peer.certificate else ""
        index, feed_index = self._channels.inbox.next_index(channel_id)
        self._channels.inbox.add(
            Notification(
                index,
                feed_index,
                channel_id,
                environment,
                int(self._clock() * 1000),
                request_id,
                headers,
                request.body,
                team_id,
                token.key.key_id if token is not None else None,
            )
        )
