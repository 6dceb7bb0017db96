"""The commands: `push-relay serve`, `demo`, `apns`, what is done beside a relay, and what is done over its API."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import uvloop

from relay import config
from relay.admin import admin_app, credential_app
from relay.errors import RelayError
from relay.logs import log_to_stderr

if TYPE_CHECKING:
    from relay.app import Roles

app = typer.Typer(
    name="push-relay",
    help="A push relay for app stores beside Apple's.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # they would print local variables, and those hold secrets
)
app.add_typer(admin_app)

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", envvar="PUSH_RELAY_CONFIG", help="Settings (YAML).", dir_okay=False, exists=True
    ),
]


def main() -> None:
    """Entry point of `push-relay`. Settings that are wrong and a database that is away end it with one line."""
    warnings.simplefilter("ignore", DeprecationWarning)
    try:
        app()
    except (config.SettingsError, RelayError) as error:
        typer.secho(f"push-relay: {error}", fg="red", err=True)
        sys.exit(2)
    except OSError as error:
        typer.secho(f"push-relay: {error.strerror or error}", fg="red", err=True)
        sys.exit(2)


@app.command()
def serve(
    config_file: ConfigFile = None,
    api: Annotated[
        bool, typer.Option("--api", help="Answer the API; without --dispatch, only that.")
    ] = False,
    dispatch: Annotated[
        bool, typer.Option("--dispatch", help="Send pushes; without --api, only that.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the port and the work.")] = 1,
) -> None:
    """Run a node of the relay until it is told to stop (SIGTERM or Ctrl-C). It does both, if not told what to do."""
    from relay.app import Roles

    settings = _settings(config_file)
    roles = Roles(api, dispatch) if api or dispatch else Roles()
    if workers == 1:
        _run(_serve(settings, roles))
    else:
        from relay import workers as processes

        _run(processes.serve(settings, workers, roles, ready=_say_where))


@app.command("operator-token")
def operator_token(
    config_file: ConfigFile = None,
    label: Annotated[str, typer.Option(help="What it is for.")] = "",
) -> None:
    """Make an operator_ token and print it; it is shown this once."""
    settings = _settings(config_file)
    _run(_operator_token(settings, label))


@credential_app.command("rotate-key")
def rotate_key(config_file: ConfigFile = None) -> None:
    """Encrypt all stored credentials with the newest key of keys.credentials. Needs the settings, and no token."""
    from relay.admin_local import rotate_credential_key

    _run(rotate_credential_key(_settings(config_file)))


@app.command("token-check")
def token_check(
    config_file: ConfigFile = None,
    revoke: Annotated[bool, typer.Option("--revoke", help="Revoke it, if it is ours.")] = False,
) -> None:
    """Say what a token is that somebody found. It is read from standard input, so that no shell remembers it."""
    from getpass import getpass

    from relay.admin_local import check_token

    text = getpass("Token: ") if sys.stdin.isatty() else sys.stdin.readline()
    _run(check_token(_settings(config_file), text.strip(), revoke=revoke))


@app.command()
def demo(
    port: Annotated[int, typer.Option(help="The relay's port.", envvar="PORT")] = 8080,
    directory: Annotated[Path, typer.Option(help="Where its data is kept.", file_okay=False)] = Path("var"),
) -> None:
    """Run the relay, the APNs stand-in and a small store with simulated devices: try it out."""
    from relay.demo import run_demo

    log_to_stderr("warning")
    directory.mkdir(parents=True, exist_ok=True)
    _run(run_demo(directory, port))


@app.command()
def apns(
    production_port: Annotated[int, typer.Option(help="0 takes a free one.")] = 2197,
    sandbox_port: Annotated[int, typer.Option(help="0 takes a free one.")] = 2198,
    control_port: Annotated[int, typer.Option(help="The control API's; 0 takes a free one.")] = 2199,
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    ca_file: Annotated[Path, typer.Option(help="Where its CA is written.")] = Path("var/apns-ca.pem"),
    state_file: Annotated[
        Path | None, typer.Option(help="Keeps keys and device tokens over restarts.")
    ] = None,
) -> None:
    """Run the APNs stand-in alone: it answers like Apple and shows what each device received."""
    from sdk_stub.apns import run

    log_to_stderr("info")
    ca_file.parent.mkdir(parents=True, exist_ok=True)
    _run(
        run(
            host=host,
            production_port=production_port,
            sandbox_port=sandbox_port,
            control_port=control_port,
            ca_file=ca_file,
            state_file=state_file,
        )
    )


def _settings(config_file: Path | None) -> config.Settings:
    settings = config.load(config_file, os.environ)
    log_to_stderr(settings.log)
    return settings


def _run(main: Coroutine[Any, Any, None]) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(main)


async def _serve(settings: config.Settings, roles: Roles) -> None:
    from relay.app import Relay
    from relay.workers import stop_signals

    stopped = stop_signals()
    async with AsyncExitStack() as stack:
        relay = await Relay.start(settings, stack, roles=roles)
        _say_where(relay.url)
        await stopped.wait()


def _say_where(url: str) -> None:
    typer.echo(f"push-relay listens at {url}; its API is described at {url}/v1.0/spec/")


async def _operator_token(settings: config.Settings, label: str) -> None:
    import secrets

    from relay.app import SystemClock, open_database, prepare
    from relay.store.api_tokens import create_operator_token

    async with AsyncExitStack() as stack:
        database = await open_database(settings, stack)
        await prepare(database, settings, SystemClock().now())
        typer.echo(await create_operator_token(database, SystemClock(), secrets.token_bytes, label))
