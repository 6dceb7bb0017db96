"""The operator's commands for credentials, which authenticate to Apple."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay.cli.options import DEFAULT_URL, ConfigFile, Json, TokenFile, Url
from relay.cli.output import show, show_json
from relay.cli.session import (
    call_and_show,
    list_and_show,
    load_settings,
    present_fields,
    run_with_client,
    with_database,
)

if TYPE_CHECKING:
    from relay.cli.doctor import Finding
    from relay.cli.operator_client import OperatorClient
    from relay.core.delivery.sending import Credential
    from relay.settings import Settings
    from relay.store.database import Database
    from relay.store.key_rotation import Rotation

credential_app = typer.Typer(no_args_is_help=True, help="Manage credentials for APNs (operator token).")

EnvironmentName = Annotated[str, typer.Option("--environment", help="production or sandbox.")]
KeyId = Annotated[
    str | None, typer.Option("--key-id", help="Key id. Default: from the name AuthKey_<key id>.p8.")
]


def read_pem(path: Path) -> str:
    """Return the text of a PEM file. Ends the command if it cannot be read."""
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        typer.echo(f"Error: {path} cannot be read as PEM: {type(error).__name__}.", err=True)
        raise typer.Exit(1) from None


def _key_id(p8: Path | None, key_id: str | None) -> str | None:
    if p8 is not None and key_id is None and p8.stem.startswith("AuthKey_"):
        return p8.stem.removeprefix("AuthKey_")
    return key_id


@credential_app.command("add")
def add_credential(
    environment: EnvironmentName = "production",
    p8: Annotated[Path | None, typer.Option("--p8", help="Apple's AuthKey_….p8 file.")] = None,
    certificate: Annotated[
        Path | None, typer.Option("--certificate", help="PEM file with certificate and key.")
    ] = None,
    key_id: KeyId = None,
    team: Annotated[str | None, typer.Option("--team", help="Team. Default: from the certificate.")] = None,
    bundle: Annotated[str | None, typer.Option("--bundle", help="Only for this bundle identifier.")] = None,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Add a credential. It replaces that of the same team, environment and bundle."""
    body = present_fields(
        environment=environment,
        team_id=team,
        bundle_id=bundle,
        key_id=_key_id(p8, key_id),
        p8=p8 and read_pem(p8),
        certificate=certificate and read_pem(certificate),
    )
    call_and_show(url, token_file, as_json, "POST", "operator/credentials/", body)


@credential_app.command("list")
def list_credentials(url: Url = DEFAULT_URL, token_file: TokenFile = None, as_json: Json = False) -> None:
    """List all credentials and their states, without secrets."""
    list_and_show(url, token_file, as_json, "operator/credentials/")


@credential_app.command("rotate")
def rotate_credential(
    team: Annotated[str, typer.Option("--team", help="Team whose key is replaced.")],
    p8: Annotated[Path, typer.Option("--p8", help="The new AuthKey_….p8 file.")],
    key_id: KeyId = None,
    bundle: Annotated[str, typer.Option("--bundle", help="Only the key of this bundle identifier.")] = "",
    environment: Annotated[
        str | None, typer.Option("--environment", help="production or sandbox. Default: both.")
    ] = None,
    ask_apple: Annotated[
        bool, typer.Option("--ask-apple", help="First let Apple check the new key, with a push to no device.")
    ] = False,
    config_file: ConfigFile = None,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Replace the key of a team. Pushes that waited for the old key are sent."""
    from relay.cli.operator_client import OperatorError
    from relay.core.apns_credentials import SecretRefused, check_p8

    key_id = _key_id(p8, key_id)
    if key_id is None:
        raise typer.BadParameter("give it, or a file with its name from Apple", param_hint="--key-id")
    try:
        secret = check_p8(read_pem(p8))
    except SecretRefused as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None

    async def work(client: OperatorClient) -> list[dict[str, Any]]:
        former = [
            credential
            async for credential in client.list_items("operator/credentials/")
            if (credential["team_id"], credential["bundle_id"], credential["kind"]) == (team, bundle, "token")
            and environment in (None, credential["environment"])
        ]
        if not former:
            raise OperatorError("That team has no such key: push-relay credentials add stores its first one.")
        successors = [_successor(credential, key_id, secret) for credential in former]
        if ask_apple:
            await _ask_apple(successors, config_file)
        return [
            await client.call("POST", "operator/credentials/", _request_body(credential))
            for credential in successors
        ]

    show(run_with_client(url, token_file, work), as_json)


def _successor(former: dict[str, Any], key_id: str, secret: str) -> Credential:
    from relay.core.accounts import CredentialKind, Environment
    from relay.core.delivery.sending import Credential

    return Credential(
        credential_id=former["id"],
        version=former["version"] + 1,
        team_id=former["team_id"],
        environment=Environment(former["environment"]),
        kind=CredentialKind.TOKEN,
        key_id=key_id,
        secret=secret,
        bundle_id=former["bundle_id"],
    )


def _request_body(credential: Credential) -> dict[str, Any]:
    return present_fields(
        environment=credential.environment.value,
        team_id=credential.team_id,
        bundle_id=credential.bundle_id or None,
        key_id=credential.key_id,
        p8=credential.secret,
    )


async def _ask_apple(credentials: list[Credential], config_file: Path | None) -> None:
    """Raise OperatorError if Apple refuses one of the credentials or cannot be reached."""
    from relay.cli.doctor.apple import AppleCheck
    from relay.cli.operator_client import OperatorError
    from relay.node.clock import SystemClock

    apple = AppleCheck(load_settings(config_file, log="error"), SystemClock(), ask=True)

    async def examine(credential: Credential) -> list[Finding]:
        check = f"{credential.environment}, key {credential.key_id}"
        return [finding async for finding in apple.examine_credential(credential, check)]

    by_credential = await asyncio.gather(*map(examine, credentials))
    findings = [finding for of_credential in by_credential for finding in of_credential]
    for finding in findings:
        typer.echo(f"{finding.state.sign} {finding.check}  {finding.text}", err=True)
    if any(finding.state == "bad" for finding in findings):
        raise OperatorError("The new key was not accepted. Nothing was replaced.")


@credential_app.command("suspend")
def suspend_credential(
    credential: int, url: Url = DEFAULT_URL, token_file: TokenFile = None, as_json: Json = False
) -> None:
    """Suspend a credential. Its pushes wait until it is resumed or replaced."""
    call_and_show(url, token_file, as_json, "POST", f"operator/credentials/{credential}/suspend/")


@credential_app.command("resume")
def resume_credential(
    credential: int, url: Url = DEFAULT_URL, token_file: TokenFile = None, as_json: Json = False
) -> None:
    """Resume a suspended credential. Its pushes that waited are sent."""
    call_and_show(url, token_file, as_json, "POST", f"operator/credentials/{credential}/resume/")


@credential_app.command("remove")
def remove_credential(
    credential: int, url: Url = DEFAULT_URL, token_file: TokenFile = None, as_json: Json = False
) -> None:
    """Remove a credential."""
    call_and_show(url, token_file, as_json, "DELETE", f"operator/credentials/{credential}/")


@credential_app.command("reencrypt")
def reencrypt(config_file: ConfigFile = None, as_json: Json = False) -> None:
    """Encrypt stored secrets with the newest key of keys.credentials.

    Runs on the relay's machine and takes no token.
    """

    async def work(settings: Settings, database: Database) -> tuple[Rotation, Rotation]:
        from relay.cli.local import reencrypt_secrets

        return await reencrypt_secrets(settings, database)

    credentials, webhooks = with_database(config_file, work)
    if as_json:
        show_json({"credentials": credentials, "webhooks": webhooks})
        return
    typer.echo(
        f"{credentials.anew} of {credentials.stored} credentials and {webhooks.anew} of {webhooks.stored} secrets of "
        "webhooks were encrypted anew; all are under the newest key of keys.credentials."
    )


credential_app.command("rotate-key", hidden=True)(reencrypt)  # its name in 0.1
