"""The operator's commands for what authenticates to Apple: they talk HTTP to a running relay."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay.cli.local import ConfigFile, load_settings
from relay.cli.operator_client import AdminClient, AdminError
from relay.cli.terminal import URL, Json, TokenFile, Url, call, given, list_all, run_with_client, show
from relay.core.accounts import CredentialKind, Environment
from relay.core.apns_credentials import SecretRefused, check_p8
from relay.core.delivery.sending import Credential

if TYPE_CHECKING:
    from relay.cli.doctor import Finding

credential_app = typer.Typer(no_args_is_help=True, help="Credentials for APNs (operator token).")

EnvironmentName = Annotated[str, typer.Option("--environment", help="production or sandbox")]
KeyId = Annotated[str | None, typer.Option("--key-id", help="Else from AuthKey_<key id>.p8.")]


def read_pem(path: Path) -> str:
    """The text of a PEM file. Ends the command if there is none."""
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
        Path | None, typer.Option("--certificate", help="A PEM file with certificate and key.")
    ] = None,
    key_id: KeyId = None,
    team: Annotated[str | None, typer.Option("--team", help="Else from the certificate.")] = None,
    bundle: Annotated[str | None, typer.Option("--bundle", help="For one bundle identifier only.")] = None,
    url: Url = URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Add a credential, or replace that of the same team, environment and bundle."""
    body = given(
        environment=environment,
        team_id=team,
        bundle_id=bundle,
        key_id=_key_id(p8, key_id),
        p8=p8 and read_pem(p8),
        certificate=certificate and read_pem(certificate),
    )
    call(url, token_file, as_json, "POST", "operator/credentials/", body)


@credential_app.command("list")
def list_credentials(url: Url = URL, token_file: TokenFile = None, as_json: Json = False) -> None:
    """List all credentials and their state, without secrets."""
    list_all(url, token_file, as_json, "operator/credentials/")


@credential_app.command("rotate")
def rotate_credential(
    team: Annotated[str, typer.Option("--team", help="Whose key is replaced.")],
    p8: Annotated[Path, typer.Option("--p8", help="The new AuthKey_….p8 file.")],
    key_id: KeyId = None,
    bundle: Annotated[str, typer.Option("--bundle", help="The key of one bundle identifier.")] = "",
    environment: Annotated[
        str | None, typer.Option("--environment", help="Only production or sandbox; else both.")
    ] = None,
    ask_apple: Annotated[
        bool, typer.Option("--ask-apple", help="First send a push to no device with the new key, from here.")
    ] = False,
    config_file: ConfigFile = None,
    url: Url = URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Replace a team's key by a new one that was checked first. What the old one held is sent."""
    key_id = _key_id(p8, key_id)
    if key_id is None:
        raise typer.BadParameter("give it, or a file with its name from Apple", param_hint="--key-id")
    try:
        secret = check_p8(read_pem(p8))
    except SecretRefused as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None

    async def work(client: AdminClient) -> list[dict[str, Any]]:
        former = [
            one
            async for one in client.every("operator/credentials/")
            if (one["team_id"], one["bundle_id"], one["kind"]) == (team, bundle, "token")
            and environment in (None, one["environment"])
        ]
        if not former:
            raise AdminError("That team has no such key: push-relay credentials add stores its first one.")
        new = [_new(one, key_id, secret) for one in former]
        if ask_apple:
            await _ask(new, config_file)
        return [await client.call("POST", "operator/credentials/", _body(one)) for one in new]

    show(run_with_client(url, token_file, work), as_json)


def _new(former: dict[str, Any], key_id: str, secret: str) -> Credential:
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


def _body(new: Credential) -> dict[str, Any]:
    return given(
        environment=new.environment.value,
        team_id=new.team_id,
        bundle_id=new.bundle_id or None,
        key_id=new.key_id,
        p8=new.secret,
    )


async def _ask(credentials: list[Credential], config_file: Path | None) -> None:
    """Raises AdminError if Apple refuses one, or can't be asked: then nothing is replaced."""
    from relay.cli.doctor.apple import AppleCheck
    from relay.node.clock import SystemClock

    apple = AppleCheck(load_settings(config_file, log="error"), SystemClock(), ask=True)

    async def look(credential: Credential) -> list[Finding]:
        check = f"{credential.environment}, key {credential.key_id}"
        return [finding async for finding in apple.of(credential, check)]

    found = [one for of_one in await asyncio.gather(*map(look, credentials)) for one in of_one]
    for finding in found:
        typer.echo(f"{finding.state.sign} {finding.check}  {finding.text}", err=True)
    if any(finding.state == "bad" for finding in found):
        raise AdminError("The new key was not accepted. Nothing was replaced.")


@credential_app.command("suspend")
def suspend_credential(
    credential: int, url: Url = URL, token_file: TokenFile = None, as_json: Json = False
) -> None:
    """Send nothing with a credential; what needs it waits until it is resumed or replaced."""
    call(url, token_file, as_json, "POST", f"operator/credentials/{credential}/suspend/")


@credential_app.command("resume")
def resume_credential(
    credential: int, url: Url = URL, token_file: TokenFile = None, as_json: Json = False
) -> None:
    """Make a suspended credential active; what waited for it is sent."""
    call(url, token_file, as_json, "POST", f"operator/credentials/{credential}/resume/")


@credential_app.command("remove")
def remove_credential(
    credential: int, url: Url = URL, token_file: TokenFile = None, as_json: Json = False
) -> None:
    """Remove a credential."""
    call(url, token_file, as_json, "DELETE", f"operator/credentials/{credential}/")
