"""The commands: `push-relay serve`, `demo` and `apns`; what is done on its machine, and what over its API."""

from __future__ import annotations

import contextlib
import json
import sys
import warnings
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import uvloop

from relay import settings as config
from relay.cli.admin import admin_app
from relay.cli.import_4d import import_mobile_apps
from relay.cli.local import HERE, ConfigFile, load_settings
from relay.cli.operate import local_app
from relay.cli.send import send
from relay.cli.terminal import OVER_API, URL, AppId, Json, TokenFile, Url, run_with_client
from relay.core.errors import RelayError
from relay.telemetry.logs import log_to_stderr

if TYPE_CHECKING:
    from relay.node.roles import Roles

app = typer.Typer(
    name="push-relay",
    help="A push relay for app stores beside Apple's.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # they would print local variables, and those hold secrets
)
RUN = "Run"
"""The part of the help in which the servers are listed."""


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


@app.command(rich_help_panel=RUN)
def serve(
    config_file: ConfigFile = None,
    api: Annotated[
        bool, typer.Option("--api", help="Answer the API; without --dispatch, only that.")
    ] = False,
    dispatch: Annotated[
        bool, typer.Option("--dispatch", help="Send pushes; without --api, only that.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the port and the work.")] = 1,
    as_json: Json = False,
) -> None:
    """Run a node of the relay until it is told to stop (SIGTERM or Ctrl-C). It does both, if not told what to do."""
    from relay.node.roles import Roles

    settings = load_settings(config_file)
    roles = Roles(api, dispatch) if api or dispatch else Roles()
    ready = _say_where_as_json if as_json else _say_where
    if workers == 1:
        _run(_serve(settings, roles, ready))
    else:
        from relay.node import workers as processes

        _run(processes.serve(settings, workers, roles, ready=ready))


@app.command("settings", rich_help_panel=HERE)
def settings_reference(
    as_json: Annotated[bool, typer.Option("--json", help="A JSON Schema of the settings file.")] = False,
) -> None:
    """Say which settings there are: name, variable, values, default, and what each does."""
    from relay.cli import settings_reference as reference

    text = json.dumps(reference.schema(), indent=2, ensure_ascii=False) if as_json else reference.markdown()
    typer.echo(text.rstrip("\n"))


@app.command(rich_help_panel=RUN)
def demo(
    port: Annotated[int, typer.Option(help="The relay's port.", envvar="PORT")] = 8080,
    directory: Annotated[Path, typer.Option(help="Where its data is kept.", file_okay=False)] = Path("var"),
) -> None:
    """Run the relay, the APNs stand-in and a small store with simulated devices: try it out."""
    from relay.demo import run_demo

    log_to_stderr("warning")
    directory.mkdir(parents=True, exist_ok=True)
    _run(run_demo(directory, port))


@app.command(rich_help_panel=RUN)
def apns(
    production_port: Annotated[int, typer.Option(help="0 takes a free one.")] = 2197,
    sandbox_port: Annotated[int, typer.Option(help="0 takes a free one.")] = 2198,
    production_channels_port: Annotated[int, typer.Option(help="0 takes a free one.")] = 2196,
    sandbox_channels_port: Annotated[int, typer.Option(help="0 takes a free one.")] = 2195,
    control_port: Annotated[int, typer.Option(help="The control API's; 0 takes a free one.")] = 2199,
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    ca_file: Annotated[Path, typer.Option(help="Where its CA is written.")] = Path("var/apns-ca.pem"),
    state_file: Annotated[
        Path | None, typer.Option(help="Keeps keys and device tokens over restarts.")
    ] = None,
) -> None:
    """Run the APNs stand-in alone: it answers like Apple and shows what each device received."""
    from apns_standin import StandInPorts, run

    log_to_stderr("info")
    ca_file.parent.mkdir(parents=True, exist_ok=True)
    _run(
        run(
            host=host,
            ports=StandInPorts(
                production=production_port,
                sandbox=sandbox_port,
                production_channels=production_channels_port,
                sandbox_channels=sandbox_channels_port,
                control=control_port,
            ),
            ca_file=ca_file,
            state_file=state_file,
        )
    )


@app.command("webhook-test", rich_help_panel=OVER_API)
def webhook_test(
    app_id: AppId,
    listen: Annotated[
        str, typer.Option("--listen", help="Host and port to receive at; port 0 takes a free one.")
    ] = "127.0.0.1:0",
    public_url: Annotated[
        str | None, typer.Option("--public-url", help="If the relay reaches it by another URL: a tunnel's.")
    ] = None,
    url: Url = URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """See a message of a webhook arrive, with its signature checked (manage token). The webhook is removed again."""
    from relay.cli.operator_client import AdminClient
    from relay.cli.webhook_test import Receiver, Shown, see_one_arrive
    from relay.node.clock import SystemClock

    host, _, port = listen.rpartition(":")
    if not (host and port.isascii() and port.isdigit() and int(port) < 65_536):
        raise typer.BadParameter("host and port, for example 127.0.0.1:0", param_hint="--listen")

    async def work(client: AdminClient) -> Shown:
        async with Receiver(host.strip("[]"), int(port), SystemClock()) as receiver:
            return await see_one_arrive(client, app_id, receiver, public_url, SystemClock())

    shown = run_with_client(url, token_file, work)
    if as_json:
        typer.echo(json.dumps(shown.as_json()))
    else:
        shown.print(typer.echo)
    if not shown.is_good:
        raise typer.Exit(1)


app.add_typer(local_app)
app.command("send", rich_help_panel=OVER_API)(send)
app.add_typer(admin_app)
app.command("import-4d", rich_help_panel=OVER_API)(import_mobile_apps)


def _run(main: Coroutine[Any, Any, None]) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(main)


async def _serve(settings: config.Settings, roles: Roles, ready: Callable[[str], None]) -> None:
    from relay.node.main import Relay
    from relay.node.workers import rest_collector, stop_signals

    stopped = stop_signals()
    async with AsyncExitStack() as stack:
        relay = await Relay.start(settings, stack, roles=roles)
        rest_collector()
        ready(relay.url)
        await stopped.wait()


def _say_where(url: str) -> None:
    typer.echo(f"push-relay listens at {url}; its API is described at {url}/v1.0/spec/")


def _say_where_as_json(url: str) -> None:
    typer.echo(json.dumps({"url": url, "spec": f"{url}/v1.0/spec/"}))
