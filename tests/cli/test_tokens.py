"""Rotation of the key of credentials, and the check of a token that was found somewhere."""

from __future__ import annotations

import secrets
from typing import Any
from uuid import uuid4

from relay.core.api_tokens import make_token
from relay.core.errors import Conflict
from relay.core.install_tokens import InstallClaims, InstallTokens
from relay.store.accounts.credentials import Credentials
from relay.store.database import Database
from relay.store.operations.audit import COMMAND_LINE, AuditRepository
from tests.api import pems
from tests.api.front import KEYS, Front
from tests.cli.conftest import Command
from tests.factories import make_new_credential
from tests.store.accounts.stored_credentials import unseal_all

OLD, NEW = KEYS


async def test_the_key_of_credentials_is_rotated(command: Command, database: Database) -> None:
    new = make_new_credential(
        secret=pems.p8(),
    )
    await Credentials(database, (OLD,)).put(new, (await _now(database)), COMMAND_LINE)
    refused = await command("credential", "rotate-key", credentials=(NEW,))
    assert isinstance(refused.exception, Conflict)
    assert "No key in keys.credentials decrypts credential" in str(refused.exception)

    done = await command("credential", "rotate-key")
    assert (done.exit_code, done.stdout[:8]) == (0, "1 of 1 c"), done.output
    assert [
        credential.secret for credential in await unseal_all(database, Credentials(database, (NEW,)))
    ] == [new.secret]
    again = await command("credential", "rotate-key", credentials=(NEW,))
    assert (again.exit_code, again.stdout[:8]) == (0, "0 of 1 c"), again.output


async def _now(database: Database) -> Any:
    async with database.connection() as connection:
        return await connection.fetchval("SELECT now()")


async def test_a_found_token_is_recognised_and_revoked(command: Command, front: Front) -> None:
    publisher, manage = await front.publisher()
    app_id = await front.app(publisher)
    answer = await front.call("POST", f"apps/{app_id}/tokens/", {"label": "staging"}, token=manage)
    push = answer.body["token"]
    for token, words in (
        (push, ["push_ token", "active", answer.body["id"], "staging", publisher, app_id]),
        (manage, ["manage_ token", "active", publisher]),
        (front.operator_token, ["operator_ token", "active"]),
    ):
        checked = await command("token-check", text=f"  {token}\n")
        assert checked.exit_code == 0, checked.output
        assert [word for word in words if word not in checked.output] == []
        assert token not in checked.output
        assert (await front.call("GET", "audit/", token=token)).status in (200, 403), (
            "a check without --revoke revokes nothing"
        )

        revoked = await command("token-check", "--revoke", text=token)
        assert (revoked.exit_code, "It is revoked now" in revoked.output) == (0, True), revoked.output
        front.clock.advance(3)  # a running relay remembers a token for two seconds
        assert (await front.call("GET", "audit/", token=token)).status == 401
        again = await command("token-check", "--revoke", text=token)
        assert "revoked since" in again.output
        assert "It was revoked before" in again.output
        assert token not in revoked.output + again.output

    entries = await AuditRepository(front.database).list_entries(None, 3)
    assert [(entry.action, entry.actor, entry.token_id) for entry in entries] == [
        (f"{kind}_token.revoked", "operator", None) for kind in ("operator", "manage", "push")
    ]


async def test_an_expired_token_is_recognised(command: Command, front: Front) -> None:
    publisher, manage = await front.publisher()
    path = f"apps/{await front.app(publisher)}/tokens/"
    answer = await front.call("POST", path, {"expires_at": "2026-03-02T00:00:00Z"}, token=manage)
    assert "expired since 2026-03-02" in (await command("token-check", text=answer.body["token"])).output


async def test_a_text_that_is_not_a_token_of_this_relay_is_explained(command: Command, front: Front) -> None:
    before = await AuditRepository(front.database).list_entries(None, 100)
    stranger = make_token("push", secrets.token_bytes(32))
    forged = InstallTokens(("a key of another relay, long enough",)).sign_claims(
        InstallClaims("chess", uuid4(), 1)
    )
    for text, reason in (
        ("", "no token"),
        ("hello", "no token"),
        (stranger[:-1] + ("A" if stranger[-1] != "A" else "B"), "checksum is wrong"),
        (stranger.replace("push", "pull"), "no token"),
        (stranger, "did not make it"),
        (forged, "no key in keys.installations"),
    ):
        checked = await command("token-check", "--revoke", text=text)
        assert (checked.exit_code, reason in checked.output) == (1, True), checked.output
        assert not text or text not in checked.output
    assert await AuditRepository(front.database).list_entries(None, 100) == before
    assert (await command("token-check", stranger)).exit_code == 2, "never as an argument"


async def test_a_found_install_token_is_recognised(command: Command, front: Front) -> None:
    app_id, uuid = await front.app(), uuid4()
    token = await front.install(front.copy(app_id), uuid)
    checked = await command("token-check", text=token)
    assert (checked.exit_code, str(uuid) in checked.output, "It is active" in checked.output) == (
        0,
        True,
        True,
    )
    await front.call("DELETE", f"operator/installations/{uuid}/")
    checked = await command("token-check", text=token)
    assert "It does not hold any more" in checked.output
    assert token not in checked.output
