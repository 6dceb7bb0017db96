"""What a reason means and what its reader can do: for people who look at a push that did not arrive.

Apple's reasons are explained after "Handling notification responses from APNs"; the relay's own are from the places
that make them (`apns/errors.py`, `apns/wire.py`, `dispatch/judging.py`). What the relay does is `verdicts.py`'s.
"""

from __future__ import annotations

from typing import NamedTuple

from relay.core.delivery.verdicts import VERDICTS, Blame


class Explanation(NamedTuple):
    """Two sentences for a publisher: what happened, and what to do. `blame`: who can mend it."""

    meaning: str
    advice: str
    blame: Blame


_NOTHING = "Nothing: the app registers again at its next launch, and is reached from then on."
_OPERATOR = "Tell the operator of the store: it is about the key or certificate of the copy's team."
_OURS = "Tell the operator of the relay: this is a fault of the relay and not of your push."
_LATER = "Send again, with a longer time to live if it may arrive late."
_PASSED = "Nothing: the relay tries again until the push expires."
_KEPT = "Nothing: the push is kept, and goes on when the operator has mended it. It may expire meanwhile."

_TEXTS: dict[str, tuple[str, str]] = {
    # the publisher's
    "BadCollapseId": ("The collapse id is longer than 64 bytes.", "Send again with a shorter one."),
    "BadExpirationDate": ("Apple can't read the expiration.", "Send again with epoch seconds, or a `ttl`."),
    "BadMessageId": ("Apple can't read the id that the relay gave the push.", _OURS),
    "BadPriority": ("This push type can't have that priority.", "Send again without a priority."),
    "InvalidPushType": (
        "The push type does not fit the payload.",
        "Send again with the type it is meant for.",
    ),
    "PayloadEmpty": ("The payload is empty.", "Send again with a payload."),
    "PayloadTooLarge": (
        "The payload is larger than Apple allows.",
        "Shorten the texts, or let the app fetch them.",
    ),
    # topic or key
    "BadTopic": ("Apple does not know the topic, which is the copy's bundle identifier.", _OPERATOR),
    "MissingTopic": ("Apple wants a topic: the certificate is for more than one.", _OPERATOR),
    "TopicDisallowed": ("The team's key may not push to this copy's bundle identifier.", _OPERATOR),
    "TopicMismatch": ("The channel belongs to another bundle identifier.", _OPERATOR),
    "Forbidden": ("Apple refuses the request, whatever the key says.", _OPERATOR),
    "FeatureNotEnabled": ("Broadcast is not switched on for this bundle identifier.", _OPERATOR),
    "CannotCreateChannelConfig": ("The bundle identifier has as many channels as Apple allows.", _OPERATOR),
    "ChannelNotRegistered": ("Apple does not know the channel any more.", _OPERATOR),
    # the device token's
    "DeviceTokenNotForTopic": (
        "The device token belongs to another bundle identifier: the copy was re-signed.",
        _NOTHING,
    ),
    "BadDeviceToken": (
        "This is no device token of the environment that the copy was built for.",
        f"{_NOTHING} If many say this, the store has the wrong environment for them: tell its operator.",
    ),
    "Unregistered": (
        "The app is not on the device any more, or its owner switched notifications off.",
        _NOTHING,
    ),
    "ExpiredToken": ("The device token is too old.", _NOTHING),
    "NoDeviceToken": ("The copy had no device token any more when its turn came.", _NOTHING),
    "TooManyRequests": (
        "This device got too many pushes in a short time.",
        "Send less often to one device, or give what replaces one another a collapse id.",
    ),
    # the credential's
    "BadCertificate": ("Apple refuses the certificate.", _KEPT),
    "BadCertificateEnvironment": ("The certificate is for the other environment.", _KEPT),
    "MissingProviderToken": ("Apple saw no key, and no certificate either.", _KEPT),
    "InvalidProviderToken": (
        "Apple refuses the key of the team: it was revoked, or its ids are wrong.",
        _KEPT,
    ),
    "BadEnvironmentKeyIdInToken": ("The key is for the other environment.", _KEPT),
    "ExpiredProviderToken": ("Apple found the key's signature too old.", _PASSED),
    "UnrelatedKeyIdInToken": ("Apple knew the connection by another key.", _PASSED),
    "CredentialSuspended": ("The key or certificate of the copy's team is suspended.", _KEPT),
    "NoCredential": ("There is no key or certificate for the copy's team.", _KEPT),
    "BadCredential": ("The key or certificate itself can't be used.", _KEPT),
    "ProviderTokenExpired": ("The key's signature was too old, and too young to be made anew.", _PASSED),
    # the moment's
    "IdleTimeout": ("Apple closed a connection that was idle.", _PASSED),
    "TooManyProviderTokenUpdates": ("Apple wants the key's signature to change less often.", _PASSED),
    "InternalServerError": ("Apple had a fault of its own.", _LATER),
    "ServiceUnavailable": ("Apple could not take the push.", _LATER),
    "Shutdown": ("Apple's server was shutting down.", _LATER),
    "MisdirectedRequest": ("Apple's server was not the one for this key.", _LATER),
    "ConnectFailed": ("Apple's server could not be reached.", _LATER),
    "ConnectTimeout": ("Apple's server could not be reached in time.", _LATER),
    "NoConnection": ("There was no connection to Apple.", _LATER),
    "TlsFailed": ("What answered at Apple's address could not show that it is Apple.", _OURS),
    "NoHttp2": ("What answered at Apple's address does not speak HTTP/2.", _OURS),
    "ConnectionLost": ("The connection to Apple broke off.", _LATER),
    "ConnectionClosed": ("The connection to Apple was closed before an answer came.", _LATER),
    "PingTimeout": ("The connection to Apple gave no sign any more.", _LATER),
    "ResponseTimeout": ("Apple gave no answer in time.", _LATER),
    "NoAnswer": ("The push left, and no answer came.", _LATER),
    "GoAway": ("Apple ended the connection.", _LATER),
    "RefusedStream": ("Apple did not look at the push.", _LATER),
    "StreamReset": ("Apple broke off its answer.", _LATER),
    "StreamIdsUsedUp": ("The connection had carried as many pushes as one can.", _LATER),
    "Stalled": ("The connection to Apple stood still.", _LATER),
    "ProtocolError": ("Apple's answer broke the rules of HTTP/2.", _LATER),
    "MalformedAnswer": ("Apple's answer could not be read.", _LATER),
    "Closed": ("The relay closed the connection: its key was changed.", _LATER),
    "CredentialForgotten": ("The relay closed the connection: its key was suspended.", _LATER),
    "CredentialReplaced": ("The relay closed the connection: its key was replaced.", _LATER),
    # the push's own end
    "Expired": ("The push expired before its turn came.", _LATER),
    "Cancelled": ("The push was cancelled.", "Nothing: this is what was asked for."),
    # ours
    "MissingDeviceToken": ("The relay named no device token.", _OURS),
    "DuplicateHeaders": ("The relay sent a header twice.", _OURS),
    "BadPath": ("The relay asked at a path that Apple does not know.", _OURS),
    "MethodNotAllowed": ("The relay asked in a way that Apple does not know.", _OURS),
    "MissingChannelId": ("The relay named no channel.", _OURS),
    "BadChannelId": ("The relay named a channel that can be none.", _OURS),
    "MissingPushType": ("The relay named no push type.", _OURS),
    "BadRequestParams": ("Apple can't read the relay's request.", _OURS),
    "BadRequestPayload": ("Apple can't read what the relay asked for.", _OURS),
    "NoFile": ("The relay could not write the file that a certificate has to be.", _OURS),
}
_BLAME: dict[str, Blame] = {
    **{reason: verdict.blame for (_, reason), verdict in VERDICTS.items() if reason},
    **dict.fromkeys(("CredentialSuspended", "NoCredential", "BadCredential"), Blame.OPERATOR),
    **dict.fromkeys(("NoDeviceToken",), Blame.DEVICE),
    **dict.fromkeys(("Expired", "Cancelled"), Blame.NOBODY),
    **dict.fromkeys(("TlsFailed", "NoHttp2", "NoFile", "Closed"), Blame.RELAY),
}
EXPLANATIONS: dict[str, Explanation] = {
    reason: Explanation(*texts, _BLAME.get(reason, Blame.APNS)) for reason, texts in _TEXTS.items()
}
_UNKNOWN = Explanation(
    "Apple gave a reason that the relay has no words for.",
    "Tell the operator of the relay what it is.",
    Blame.APNS,
)


def explain(reason: str) -> Explanation:
    """What to tell of a reason. One that Apple made up since then is said to be unknown.

    "GoAway:Shutdown" is the end of a connection, with what Apple said of it: the latter is explained if it can be.
    """
    whole, _, said = reason.partition(":")
    return EXPLANATIONS.get(said) or EXPLANATIONS.get(whole) or _UNKNOWN
