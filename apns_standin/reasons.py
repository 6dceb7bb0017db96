"""Apple's reasons for refusing a notification, and the HTTP status of each.

Sources: the table "Response error strings" of Apple's "Handling notification responses from APNs" and, for broadcast
channels, "Handling error responses from Apple Push Notification service".
"""

from __future__ import annotations

import json
from typing import Final

import msgspec

STATUS_OF_REASON: Final = {
    "BadChannelId": 400,
    "BadCollapseId": 400,
    "BadDeviceToken": 400,
    "BadExpirationDate": 400,
    "BadMessageId": 400,
    "BadPriority": 400,
    "BadRequestParams": 400,
    "BadRequestPayload": 400,
    "BadTopic": 400,
    "CannotCreateChannelConfig": 400,
    "ChannelNotRegistered": 400,
    "DeviceTokenNotForTopic": 400,
    "DuplicateHeaders": 400,
    "FeatureNotEnabled": 400,
    "IdleTimeout": 400,
    "InvalidPushType": 400,
    "MissingChannelId": 400,
    "MissingDeviceToken": 400,
    "MissingPushType": 400,
    "MissingTopic": 400,
    "PayloadEmpty": 400,
    "TopicDisallowed": 400,
    "BadCertificate": 403,
    "BadCertificateEnvironment": 403,
    "BadEnvironmentKeyIdInToken": 403,
    "ExpiredProviderToken": 403,
    "Forbidden": 403,
    "InvalidProviderToken": 403,
    "MissingProviderToken": 403,
    "TopicMismatch": 403,
    "UnrelatedKeyIdInToken": 403,
    "BadPath": 404,
    "MethodNotAllowed": 405,
    "ExpiredToken": 410,
    "Unregistered": 410,
    "PayloadTooLarge": 413,
    "TooManyProviderTokenUpdates": 429,
    "TooManyRequests": 429,
    "InternalServerError": 500,
    "ServiceUnavailable": 503,
    "Shutdown": 503,
}

REASON_OF_STATUS: Final = {
    404: "BadPath",
    405: "MethodNotAllowed",
    410: "Unregistered",
    413: "PayloadTooLarge",
    429: "TooManyRequests",
    500: "InternalServerError",
    503: "ServiceUnavailable",
}
"""The reason of a prescribed answer that gives only a status. 400 and 403 have many reasons and no default."""


class Rejection(msgspec.Struct, frozen=True):
    """The reason why a request is refused. Only a 410 has a `timestamp` (epoch ms)."""

    reason: str
    timestamp: int | None = None

    @property
    def status(self) -> int:
        """Apple's HTTP status for this reason."""
        return STATUS_OF_REASON[self.reason]


def error_body(reason: str, timestamp: int | None = None) -> bytes:
    """Return the JSON body of an error; `timestamp` is epoch ms, left out if None."""
    document: dict[str, object] = {"reason": reason}
    if timestamp is not None:
        document["timestamp"] = timestamp
    return json.dumps(document, separators=(",", ":")).encode()
