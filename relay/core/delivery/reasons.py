"""The reasons that labels of metrics and charts may say: Apple's as the verdicts know them, and the relay's own.

A server may answer anything, and a label that can take any value can grow without bound.
"""

from __future__ import annotations

from relay.core.delivery.verdicts import BAD_CREDENTIAL, VERDICTS

OTHER = "Other"
"""Stands for every reason that is none of `REASONS`."""
_OURS = (
    # outcomes without an answer
    "Expired",
    "Cancelled",
    "NoDeviceToken",
    "InternalError",
    # what is waited for
    "CredentialSuspended",
    "NoCredential",
    # the credential, on this machine
    BAD_CREDENTIAL,
    "CredentialForgotten",
    "CredentialReplaced",
    "NoFile",
    "ProviderTokenExpired",
    # no connection
    "ConnectFailed",
    "ConnectTimeout",
    "NoConnection",
    "NoHttp2",
    "TlsFailed",
    # a connection that ended, or was of no more use
    "Closed",
    "ConnectionClosed",
    "ConnectionLost",
    "GoAway",
    "MisdirectedRequest",
    "PingTimeout",
    "ProtocolError",
    "Stalled",
    "StreamIdsUsedUp",
    # a push whose answer did not come, or was none
    "MalformedAnswer",
    "NoAnswer",
    "RefusedStream",
    "ResponseTimeout",
    "StreamReset",
)
REASONS = frozenset(reason for _, reason in VERDICTS) | frozenset(_OURS)
"""With "", where the outcome says all."""


def metric_label(reason: str) -> str:
    """The reason, if it is one of `REASONS`; of "GoAway:Shutdown" the part before the colon; else "Other"."""
    if reason in REASONS:
        return reason
    kind = reason.partition(":")[0]
    return kind if kind in REASONS and kind else OTHER
