"""`push-relay send`: a push from the command line and, with --watch, its outcomes as they come."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, cast

import typer

from relay.cli.options import DEFAULT_URL, Json, TokenFile, Url
from relay.cli.output import progress
from relay.cli.session import present_fields, read_token

if TYPE_CHECKING:
    from relay.client import Options, Problem, PushSender, Recipients, Result

_WATCH_PAUSE_SECONDS = 0.2
"""Pause between two looks at a push that is watched."""


class PushArguments(NamedTuple):
    """The arguments of PushSender: {"payload": …} or {"notification": …}, the recipients, and the options."""

    content: Mapping[str, Any]
    recipients: Recipients
    options: Options


def send(
    app_id: Annotated[str, typer.Option("--app", envvar="PUSH_RELAY_APP", help="App identifier.")],
    recipients: Annotated[
        list[str] | None,
        typer.Argument(
            help='Customers (c_…), devices (c_…/d_…), e-mail addresses, simulators (UDID, or "booted").'
        ),
    ] = None,
    everybody: Annotated[bool, typer.Option("--all", help="Send to every copy of the app.")] = False,
    title: Annotated[str | None, typer.Option("--title", help="Title.")] = None,
    subtitle: Annotated[str | None, typer.Option("--subtitle", help="Subtitle.")] = None,
    body: Annotated[str | None, typer.Option("--body", help="Text.")] = None,
    badge: Annotated[int | None, typer.Option("--badge", help="Number on the app's icon.")] = None,
    sound: Annotated[str | None, typer.Option("--sound", help="Name of a sound.")] = None,
    image_url: Annotated[str | None, typer.Option("--image-url", help="URL of an image.")] = None,
    data_class: Annotated[str | None, typer.Option("--open", help="Data class that the app opens.")] = None,
    record: Annotated[
        str | None, typer.Option("--record", help="Primary key of the record that the app opens.")
    ] = None,
    notification: Annotated[
        Path | None,
        typer.Option("--notification", help='JSON file with a notification; "-" reads standard input.'),
    ] = None,
    payload: Annotated[
        Path | None, typer.Option("--payload", help='JSON file in Apple\'s schema; "-" reads standard input.')
    ] = None,
    push_type: Annotated[
        str | None, typer.Option("--push-type", help="Push type, such as alert or background.")
    ] = None,
    priority: Annotated[int | None, typer.Option("--priority", help="10, 5 or 1.")] = None,
    ttl: Annotated[int | None, typer.Option("--ttl", help="Seconds until the push expires.")] = None,
    collapse_id: Annotated[
        str | None, typer.Option("--collapse-id", help="Replaces an earlier push with this id.")
    ] = None,
    activity: Annotated[
        str | None, typer.Option("--activity", help="Live Activity that the push updates.")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Send only to listed test devices.")] = False,
    idempotency_key: Annotated[
        str | None, typer.Option("--idempotency-key", help="A repeated send with this key is not sent twice.")
    ] = None,
    simulator_bundle: Annotated[
        str | None, typer.Option("--simulator-bundle", help="Bundle identifier of the app on simulators.")
    ] = None,
    validate: Annotated[bool, typer.Option("--validate", help="Check the push without sending it.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show the outcomes until all are known.")] = False,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Send a push (push token).

    Ends with 1 after an error and, with --watch, if no copy was reached.
    """
    from relay.cli.operator_client import OperatorError
    from relay.cli.simulator import Simulators
    from relay.client import ClientError, PushSender

    try:
        destination = present_fields(data_class=data_class, primary_key=record)
        fields = present_fields(
            title=title,
            subtitle=subtitle,
            body=body,
            badge=badge,
            sound=sound,
            image_url=image_url,
            open=destination or None,
        )
        push = PushArguments(
            _content(fields, notification, payload, token_file),
            _recipients(recipients or [], everybody=everybody),
            cast(
                "Options",
                present_fields(
                    push_type=push_type,
                    priority=priority,
                    ttl=ttl,
                    collapse_id=collapse_id,
                    activity=activity,
                    debug=debug or None,
                    idempotency_key=idempotency_key,
                ),
            ),
        )
        simulators = Simulators(simulator_bundle) if simulator_bundle else None
        sender = PushSender(read_token(token_file), app_id, url, simulators=simulators)
        is_good = asyncio.run(_send_and_report(sender, push, validate=validate, watch=watch, as_json=as_json))
    except (OperatorError, ClientError, ValueError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None
    raise typer.Exit(0 if is_good else 1)


def _content(
    fields: dict[str, Any], notification: Path | None, payload: Path | None, token_file: Path | None
) -> Mapping[str, Any]:
    """Return the content of the push from options and files. Raises ValueError."""
    if [notification, payload, token_file].count(Path("-")) > 1:
        raise ValueError("Standard input can be only one of token, notification and payload.")
    if payload is None:
        return {"notification": {**(_read_json(notification) if notification else {}), **fields}}
    if fields or notification:
        raise ValueError("Give a payload, or what makes a notification.")
    return {"payload": _read_json(payload)}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(sys.stdin.read() if path == Path("-") else path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as JSON: {type(error).__name__}.") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds no JSON object.")  # noqa: TRY004 - an error of the input, not of the program
    return value


def _recipients(named: Sequence[str], *, everybody: bool) -> Recipients:
    """Return the recipients as the API takes them. `c_…/d_…` is one device of a customer, `c_…` all of them.

    Raises:
        ValueError: there are names beside --all, or a device is empty.
    """
    from relay.client import EVERYBODY

    if everybody:
        if named:
            raise ValueError("Give recipients, or --all.")
        return EVERYBODY
    devices_by_customer: dict[str, list[str]] = {}
    for name in named:
        customer, slash, device = name.partition("/") if name.startswith("c_") else (name, "", "")
        if slash and not device:  # an empty variable of a script must not select all devices
            raise ValueError(f"{name} names no device.")
        devices = devices_by_customer.setdefault(customer, [])
        if device and customer not in named:
            devices.append(device)
    return devices_by_customer


async def _send_and_report(
    sender: PushSender, push: PushArguments, *, validate: bool, watch: bool, as_json: bool
) -> bool:
    """Send the push and print its result. Returns whether it succeeded. Raises ClientError."""
    content, recipients, options = push
    outcome: dict[str, Any] | None = None
    async with sender:
        if validate:
            result = await sender.validate(content, recipients, **options)
        elif "payload" in content:
            result = await sender.send(content["payload"], recipients, **options)
        else:
            result = await sender.send_notification(content["notification"], recipients, **options)
        if not as_json:
            _print_result(result, validate=validate)
        if watch and result.push_id is not None:
            outcome = await _watch(sender, result.push_id)
    if as_json:
        typer.echo(json.dumps(_as_document(result, outcome)))
    elif outcome is not None:
        typer.echo(f"{outcome['state']}: {_counts(outcome)}")
        for reason, count in outcome["reasons"].items():
            typer.echo(f"  {count} × {reason}")
    return not result.errors and (outcome is None or outcome["counts"]["delivered"] > 0)


async def _watch(sender: PushSender, push_id: str) -> dict[str, Any]:
    """Show a bar of the outcomes until the push has ended, and return it."""
    with progress("{task.description}", "{task.fields[counts]}") as bar:
        task = bar.add_task("queued", total=None, counts="")
        async for push in sender.watch(push_id, _WATCH_PAUSE_SECONDS):
            bar.update(
                task,
                description=push["state"],
                total=push["targets"],
                completed=push["targets"] - push["counts"]["pending"],
                counts=_counts(push),
            )
    return push


def _counts(push: Mapping[str, Any]) -> str:
    return (
        ", ".join(f"{count:,} {outcome}" for outcome, count in push["counts"].items() if count)
        or "nothing yet"
    )


def _print_result(result: Result, *, validate: bool) -> None:
    answer = result.answer
    if result.push_id is not None:
        copies = "everybody" if answer["targets"] is None else f"{answer['targets']:,} copies"
        typer.echo(f"push {result.push_id} to {copies}")
    elif validate and answer:
        size = f"{answer['payload_bytes']} of {answer['payload_limit']} bytes"
        typer.echo(f"a push of the type {answer['push_type']} to {answer['targets']} copies, {size}")
        typer.echo(json.dumps(answer["payload"], ensure_ascii=False))
    elif result.success:
        typer.echo("pushed to the simulator")
    _print_problems("Warning", result.warnings)
    _print_problems("Error", result.errors)


def _print_problems(kind: str, problems: Sequence[Problem]) -> None:
    for problem in problems:
        typer.echo(f"{kind}: {problem.pointer} {problem.detail}".replace(":  ", ": "), err=True)


def _as_document(result: Result, outcome: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the relay's answer and the result of the send, for programs."""
    return {
        **result.answer,
        "success": result.success,
        "push_id": result.push_id,
        "idempotency_key": result.idempotency_key,
        "warnings": [problem._asdict() for problem in result.warnings],
        "errors": [problem._asdict() for problem in result.errors],
        **({"push": outcome} if outcome is not None else {}),
    }
