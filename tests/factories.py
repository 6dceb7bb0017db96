"""Builders of the values that tests need again and again. All arguments are keywords, and each has a usual value.

A test names only what it is about: `make_batch(installations=[1, 2], attempt=3)`.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

from relay.core.accounts import CredentialKind, Environment
from relay.core.delivery.plan import ClaimedBatch
from relay.core.delivery.routing import Route, Target
from relay.core.delivery.sending import Credential, SendBatch
from relay.core.ids import make_uuid7
from relay.core.push.apns_headers import PushHeaders
from relay.core.push.request import PushRequest
from relay.store.accounts.credentials import NewCredential
from relay.store.installations.enrolment_rules import Enrolment

NOW = datetime(2026, 1, 1, tzinfo=UTC)
"""When everything happens, unless a test says otherwise."""
APP_ID = "app"
BUNDLE_ID = "com.example.app"
TEAM_ID = "TEAM000001"
KEY_ID = "KEY0000001"
PAYLOAD = b'{"aps":{"alert":"hi"}}'


def make_push_id(*, number: int = 1, now: datetime = NOW) -> UUID:
    """Return the push id of `now` whose random part is `number`."""
    return make_uuid7(int(now.timestamp() * 1000), number)


def make_headers(
    *,
    push_type: str = "alert",
    priority: int = 10,
    expiration: int | None = None,
    collapse_id: str | None = None,
) -> PushHeaders:
    return PushHeaders(push_type, priority, expiration, collapse_id)


def make_push_request(
    *,
    number: int = 1,
    app_id: str = APP_ID,
    customers: Sequence[str] = (),
    collapse_id: str | None = None,
    token_kind: str = "apns",
    everyone: bool = False,
    now: datetime = NOW,
) -> PushRequest:
    """Return a request that was accepted at `now` and lasts a day. Its push id is made from `number`."""
    return PushRequest(
        app_id=app_id,
        push_id=make_push_id(number=number, now=now),
        token_id=uuid4(),
        accepted_at=now,
        expires_at=now + timedelta(days=1),
        headers=make_headers(collapse_id=collapse_id),
        token_kind=token_kind,
        payload=PAYLOAD,
        debug=False,
        customers=list(customers),
        devices=[],
        everyone=everyone,
    )


def make_target(
    *,
    installation_id: int = 1,
    bundle_id: str = BUNDLE_ID,
    team_id: str = TEAM_ID,
    environment: Environment | None = Environment.PRODUCTION,
    token: bytes | None = None,
) -> Target:
    """Return a target; unless given, its device token follows from `installation_id`."""
    device_token = installation_id.to_bytes(32, "big") if token is None else token
    return Target(installation_id, bundle_id, team_id, environment, device_token)


def make_route(*, installations: Sequence[int] = (1,)) -> Route:
    """Return the route of a push that reaches `installations` and skips none."""
    return Route({number: make_target(installation_id=number) for number in installations}, 0, [])


def make_batch(
    *,
    installations: Sequence[int] = (1,),
    batch_id: int = 1,
    push: UUID | None = None,
    attempt: int = 0,
    push_type: str = "alert",
    last_reason: str = "",
    now: datetime = NOW,
) -> ClaimedBatch:
    """Return a claimed batch of a push that was accepted at `now` and lasts a day."""
    return ClaimedBatch(
        app_id=APP_ID,
        push_id=push or make_push_id(now=now),
        batch_id=batch_id,
        attempt=attempt,
        installations=list(installations),
        payload=PAYLOAD,
        headers=make_headers(push_type=push_type),
        accepted_at=now,
        expires_at=now + timedelta(days=1),
        last_reason=last_reason,
    )


def make_send_batch(
    *,
    size: int = 1,
    payload: bytes = PAYLOAD,
    headers: PushHeaders | None = None,
    device_tokens: Sequence[str] = (),
    apns_ids: Sequence[str] = (),
    topics: Sequence[str] = (),
    traced: bool = False,
) -> SendBatch:
    """Return `size` pushes with random device tokens and apns-ids, unless those are given."""
    return SendBatch(
        payload,
        headers or make_headers(),
        device_tokens or [secrets.token_hex(32) for _ in range(size)],
        apns_ids or [str(uuid.uuid4()) for _ in range(size)],
        topics or [BUNDLE_ID] * size,
        traced,
    )


def make_credential(
    *,
    credential_id: int = 1,
    version: int = 1,
    team_id: str = TEAM_ID,
    environment: Environment = Environment.PRODUCTION,
    kind: CredentialKind = CredentialKind.TOKEN,
    key_id: str = KEY_ID,
    secret: str = "the secret",
    bundle_id: str = "",
) -> Credential:
    return Credential(credential_id, version, team_id, environment, kind, key_id, secret, bundle_id)


def make_new_credential(
    *,
    team_id: str = TEAM_ID,
    environment: Environment = Environment.PRODUCTION,
    bundle_id: str = "",
    kind: CredentialKind = CredentialKind.TOKEN,
    key_id: str = KEY_ID,
    secret: str = "the secret",
) -> NewCredential:
    """Return a credential as an operator stores it."""
    return NewCredential(
        team_id=team_id, environment=environment, bundle_id=bundle_id, kind=kind, key_id=key_id, secret=secret
    )


def make_enrolment(
    *,
    device: int = 1,
    app_id: str = APP_ID,
    customer: str | None = None,
    installation_uuid: UUID | None = None,
    bundle_id: str = BUNDLE_ID,
    team_id: str = TEAM_ID,
    environment: str | None = None,
) -> Enrolment:
    """Return the enrolment of the copy on `device`. Three devices in a row belong to one customer."""
    return Enrolment(
        installation_uuid=installation_uuid or uuid5(NAMESPACE_URL, f"{app_id} {device}"),
        app_id=app_id,
        customer=f"customer {device // 3}" if customer is None else customer,
        udid_digest=device.to_bytes(32, "big"),
        alongside="",
        bundle_id=bundle_id,
        team_id=team_id,
        environment=environment,
        app_version="1",
    )
