"""The command `push-relay`: its servers, and all other commands in their parts of the help."""

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

from relay.cli.admin import admin_app
from relay.cli.operate import local_app
from relay.cli.options import (
    API_PANEL,
    DEFAULT_URL,
    LOCAL_PANEL,
    RUN_PANEL,
    AppId,
    ConfigFile,
    Json,
    TokenFile,
    Url,
)
from relay.cli.send import send
from relay.cli.session import load_settings, run_with_client

if TYPE_CHECKING:
    from relay.cli.operator_client import OperatorClient
    from relay.cli.webhook_test import WebhookTestResult
    from relay.node.roles import Roles
    from relay.settings import Settings

app = typer.Typer(
    name="push-relay",
    help="A push relay for app stores beside Apple's.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # they print local variables, which may hold secrets
)


def main() -> None:
    """Run `push-relay`. Wrong settings and a database that is away end it with one line and code 2."""
    warnings.simplefilter("ignore", DeprecationWarning)
    try:
        app()
    except Exception as error:
        text = _describe_expected(error)
        if text is None:
            raise
        typer.secho(f"push-relay: {text}", fg="red", err=True)
        sys.exit(2)


def _describe_expected(error: Exception) -> str | None:
    """Return the line for an error that an operator can resolve, None for a defect of the program."""
    from relay.core.errors import RelayError
    from relay.settings import SettingsError

    if isinstance(error, SettingsError | RelayError):
        return str(error)
    return error.strerror or str(error) if isinstance(error, OSError) else None


@app.command(rich_help_panel=RUN_PANEL)
def serve(
    config_file: ConfigFile = None,
    api: Annotated[
        bool, typer.Option("--api", help="Answer the API. Without --dispatch, do only this.")
    ] = False,
    dispatch: Annotated[
        bool, typer.Option("--dispatch", help="Send pushes. Without --api, do only this.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes, which share the port and the work.")] = 1,
    as_json: Json = False,
) -> None:
    """Run a node of the relay until SIGTERM or Ctrl-C. By default it answers the API and sends pushes."""
    from relay.node.roles import Roles

    settings = load_settings(config_file)
    roles = Roles(api, dispatch) if api or dispatch else Roles()
    print_url = _print_url_as_json if as_json else _print_url
    if workers == 1:
        _run(_serve(settings, roles, print_url))
    else:
        from relay.node.workers import serve_with_workers

        _run(serve_with_workers(settings, workers, roles, ready=print_url))


@app.command("settings", rich_help_panel=LOCAL_PANEL)
def settings_reference(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON Schema of the settings file.")
    ] = False,
) -> None:
    """Print the reference of all settings: name, variable, values, default, purpose."""
    from relay.cli import settings_reference as reference

    text = json.dumps(reference.schema(), indent=2, ensure_ascii=False) if as_json else reference.markdown()
    typer.echo(text.rstrip("\n"))


@app.command(rich_help_panel=RUN_PANEL)
def demo(
    port: Annotated[int, typer.Option(help="Port of the relay.", envvar="PORT")] = 8080,
    directory: Annotated[Path, typer.Option(help="Directory for its data.", file_okay=False)] = Path("var"),
) -> None:
    """Run the relay, the APNs stand-in and a small store with simulated devices."""
    from relay.demo import run_demo
    from relay.telemetry.logs import log_to_stderr

    log_to_stderr("warning")
    directory.mkdir(parents=True, exist_ok=True)
    _run(run_demo(directory, port))


@app.command(rich_help_panel=RUN_PANEL)
def apns(
    production_port: Annotated[
        int, typer.Option(help="Port of the production host; 0 takes a free one.")
    ] = 2197,
    sandbox_port: Annotated[int, typer.Option(help="Port of the sandbox host; 0 takes a free one.")] = 2198,
    production_channels_port: Annotated[
        int, typer.Option(help="Port for channel management, production; 0 takes a free one.")
    ] = 2196,
    sandbox_channels_port: Annotated[
        int, typer.Option(help="Port for channel management, sandbox; 0 takes a free one.")
    ] = 2195,
    control_port: Annotated[int, typer.Option(help="Port of the control API; 0 takes a free one.")] = 2199,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    ca_file: Annotated[Path, typer.Option(help="File for its CA certificate.")] = Path("var/apns-ca.pem"),
    state_file: Annotated[
        Path | None, typer.Option(help="File that keeps keys and device tokens over restarts.")
    ] = None,
) -> None:
    """Run only the APNs stand-in, which answers like Apple and shows what each device received."""
    from apns_standin import StandInPorts, run
    from relay.telemetry.logs import log_to_stderr

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


@app.command("webhook-test", rich_help_panel=API_PANEL)
def webhook_test(
    app_id: AppId,
    listen: Annotated[
        str, typer.Option("--listen", help="Host and port to receive at; port 0 takes a free one.")
    ] = "127.0.0.1:0",
    public_url: Annotated[
        str | None,
        typer.Option("--public-url", help="URL by which the relay reaches it, such as a tunnel's."),
    ] = None,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Test webhooks with a temporary one, and check the message's signature (manage token)."""
    from relay.cli.webhook_test import Receiver, run_webhook_test
    from relay.node.clock import SystemClock

    host, _, port = listen.rpartition(":")
    if not (host and port.isascii() and port.isdigit() and int(port) < 65_536):
        raise typer.BadParameter("host and port, for example 127.0.0.1:0", param_hint="--listen")

    async def work(client: OperatorClient) -> WebhookTestResult:
        async with Receiver(host.strip("[]"), int(port), SystemClock()) as receiver:
            return await run_webhook_test(client, app_id, receiver, public_url, SystemClock())

    result = run_with_client(url, token_file, work)
    if as_json:
        typer.echo(json.dumps(result.as_json()))
    else:
        result.print(typer.echo)
    if not result.is_good:
        raise typer.Exit(1)


app.add_typer(local_app)
app.command("send", rich_help_panel=API_PANEL)(send)
app.add_typer(admin_app)


def _run(main: Coroutine[Any, Any, None]) -> None:
    import uvloop

    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(main)


async def _serve(settings: Settings, roles: Roles, print_url: Callable[[str], None]) -> None:
    from relay.node.main import Relay
    from relay.node.process import catch_stop_signals, tune_garbage_collector

    stopped = catch_stop_signals()
    async with AsyncExitStack() as stack:
        relay = await Relay.start(settings, stack, roles=roles)
        tune_garbage_collector()
        print_url(relay.url)
        await stopped.wait()


def _print_url(url: str) -> None:
    typer.echo(f"push-relay listens at {url}; its API is described at {url}/v1.0/spec/")


def _print_url_as_json(url: str) -> None:
    typer.echo(json.dumps({"url": url, "spec": f"{url}/v1.0/spec/"}))
