"""The content of a send request: its payload, or the payload that its notification becomes."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from relay.core.errors import Fault, Invalid
from relay.core.push import notification as notifications
from relay.core.push import payload as payloads
from relay.core.push.headers import choose_push_type
from relay.core.push.push_types import PushType
from relay.core.push.request import SendBody


def draft_content(body: SendBody) -> tuple[dict[str, Any], PushType]:
    """Return payload and push type of the right parts of a body that is still being written, for a preview."""
    if body.notification is not UNSET:
        return notifications.draft_notification(body.notification), notifications.PUSH_TYPE
    return body.payload if isinstance(body.payload, dict) else {}, choose_push_type(body, [])


def check_content(body: SendBody) -> payloads.CheckedPayload:
    """Return the payload of the body, or of its notification, checked for its push type and encoded. Raises Invalid."""
    if body.notification is UNSET:
        if body.payload is UNSET:
            detail = "Give either `payload` or `notification`."
            raise Invalid(faults=[Fault("missing_field", "/payload", detail)])
        return payloads.check_payload(body.payload, choose_push_type(body, []))
    if body.payload is not UNSET:
        detail = "Give either `payload` or `notification`."
        raise Invalid(faults=[Fault("not_allowed", "/notification", detail)])
    return notifications.check_notification(body.notification)
