"""Apple's reasons for not accepting a notification, and the status each is answered with.

Sources: the table "Response error strings" of Apple's "Handling notification responses from APNs" and, for what is
about broadcast channels, "Handling error responses from Apple Push Notification service".
"""

from __future__ import annotations

import json

import msgspec

STATUS_OF_REASON = {
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

# The reason meant when only a status is given. 400 and 403 have too many to choose one.
REASON_OF_STATUS = {
    404: "BadPath",
    405: "MethodNotAllowed",
    410: "Unregistered",
    413: "PayloadTooLarge",
    429: "TooManyRequests",
    500: "InternalServerError",
    503: "ServiceUnavailable",
}


class Rejection(msgspec.Struct, frozen=True):
    """Why a notification was not accepted. `timestamp` (epoch milliseconds) belongs to 410 alone."""

    reason: str
    timestamp: int | None = None

    @property
    def status(self) -> int:
        """The HTTP status Apple gives this reason."""
        return STATUS_OF_REASON[self.reason]


def error_body(reason: str, timestamp: int | None = None) -> bytes:
    """The JSON body of an error; `timestamp` in epoch milliseconds, left out when None."""
    document: dict[str, object] = {"reason": reason}
    if timestamp is not None:
        document["timestamp"] = timestamp
    return json.dumps(document, separators=(",", ":")).encode()
