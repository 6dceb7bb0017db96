"""`push-relay send`: one push from the command line, and with --watch what becomes of it, while it does."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, cast

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn

from relay.cli.operator_client import AdminError
from relay.cli.simulator import Simulators
from relay.cli.terminal import URL, Json, TokenFile, Url, given, progress, read_token
from relay.client import EVERYBODY, ClientError, Options, PushSender, Recipients, Result

_PAUSE = 0.2
"""Seconds between two looks at a push that is watched."""


class Push(NamedTuple):
    """What is to be sent, as PushSender takes it: {"payload": …} or {"notification": …}, to whom, and the rest."""

    content: Mapping[str, Any]
    recipients: Recipients
    options: Options


def send(
    app_id: Annotated[str, typer.Option("--app", envvar="PUSH_RELAY_APP", help="The app identifier.")],
    recipients: Annotated[
        list[str] | None,
        typer.Argument(help='c_…, c_…/d_…, e-mail addresses, and simulators: their UDID, or "booted".'),
    ] = None,
    everybody: Annotated[bool, typer.Option("--all", help="To everybody who has the app.")] = False,
    title: Annotated[str | None, typer.Option("--title")] = None,
    subtitle: Annotated[str | None, typer.Option("--subtitle")] = None,
    body: Annotated[str | None, typer.Option("--body")] = None,
    badge: Annotated[int | None, typer.Option("--badge")] = None,
    sound: Annotated[str | None, typer.Option("--sound")] = None,
    image_url: Annotated[str | None, typer.Option("--image-url")] = None,
    data_class: Annotated[str | None, typer.Option("--open", help="The data class the app opens.")] = None,
    record: Annotated[str | None, typer.Option("--record", help="Its record, by primary key.")] = None,
    notification: Annotated[
        Path | None, typer.Option("--notification", help='JSON: all fields a notification has; "-": stdin.')
    ] = None,
    payload: Annotated[
        Path | None, typer.Option("--payload", help='JSON in Apple\'s schema; "-": stdin.')
    ] = None,
    push_type: Annotated[str | None, typer.Option("--push-type")] = None,
    priority: Annotated[int | None, typer.Option("--priority")] = None,
    ttl: Annotated[int | None, typer.Option("--ttl", help="Seconds.")] = None,
    collapse_id: Annotated[str | None, typer.Option("--collapse-id")] = None,
    activity: Annotated[str | None, typer.Option("--activity", help="Of a Live Activity.")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="To listed test devices only.")] = False,
    idempotency_key: Annotated[
        str | None, typer.Option("--idempotency-key", help="The same push under the same key is sent once.")
    ] = None,
    simulator_bundle: Annotated[
        str | None, typer.Option("--simulator-bundle", help="The bundle identifier of the app on simulators.")
    ] = None,
    validate: Annotated[
        bool, typer.Option("--validate", help="Say what would happen, and send nothing.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show the outcomes until all are known.")] = False,
    url: Url = URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Send a push (push token). It ends with 1 if there was an error or, watched, if nothing was delivered."""
    try:
        opened = given(data_class=data_class, primary_key=record)
        words = given(
            title=title,
            subtitle=subtitle,
            body=body,
            badge=badge,
            sound=sound,
            image_url=image_url,
            open=opened or None,
        )
        push = Push(
            _content(words, notification, payload, token_file),
            _recipients(recipients or [], everybody=everybody),
            cast(
                Options,
                given(
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
        good = asyncio.run(_send(sender, push, validate=validate, watch=watch, as_json=as_json))
    except (AdminError, ClientError, ValueError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None
    raise typer.Exit(0 if good else 1)


def _content(
    words: dict[str, Any], notification: Path | None, payload: Path | None, token_file: Path | None
) -> Mapping[str, Any]:
    """What to send, from options and files. Raises ValueError."""
    if [notification, payload, token_file].count(Path("-")) > 1:
        raise ValueError("Standard input can be only one of token, notification and payload.")
    if payload is None:
        return {"notification": {**(_read_json(notification) if notification else {}), **words}}
    if words or notification:
        raise ValueError("Give a payload, or what makes a notification.")
    return {"payload": _read_json(payload)}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(sys.stdin.read() if path == Path("-") else path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as JSON: {type(error).__name__}.") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds no JSON object.")  # noqa: TRY004 - as whatever else is wrong with it
    return value


def _recipients(named: Sequence[str], *, everybody: bool) -> Recipients:
    """The map of the API. `c_…/d_…` is one device of a customer; the customer alone is all of them."""
    if everybody:
        if named:
            raise ValueError("Give recipients, or --all.")
        return EVERYBODY
    found: dict[str, list[str]] = {}
    for name in named:
        customer, slash, device = name.partition("/") if name.startswith("c_") else (name, "", "")
        if slash and not device:  # an empty variable in a script, say: that must not become all of them
            raise ValueError(f"{name} names no device.")
        devices = found.setdefault(customer, [])
        if device and customer not in named:
            devices.append(device)
    return found


async def _send(sender: PushSender, push: Push, *, validate: bool, watch: bool, as_json: bool) -> bool:
    """Send and tell; whether all is well. Raises ClientError."""
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
            _tell(result, validate=validate)
        if watch and result.push_id is not None:
            outcome = await _watch(sender, result.push_id)
    if as_json:
        typer.echo(json.dumps(_document(result, outcome)))
    elif outcome is not None:
        typer.echo(f"{outcome['state']}: {_counts(outcome)}")
        for reason, count in outcome["reasons"].items():
            typer.echo(f"  {count} × {reason}")
    return not result.errors and (outcome is None or outcome["counts"]["delivered"] > 0)


async def _watch(sender: PushSender, push_id: str) -> dict[str, Any]:
    """The push when it has ended; until then, a bar of its outcomes."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[counts]}"),
        TimeElapsedColumn(),
    )
    with progress(*columns) as bar:
        task = bar.add_task("queued", total=None, counts="")
        async for push in sender.watch(push_id, _PAUSE):
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


def _tell(result: Result, *, validate: bool) -> None:
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
    for kind, problems in (("Warning", result.warnings), ("Error", result.errors)):
        for problem in problems:
            typer.echo(f"{kind}: {problem.pointer} {problem.detail}".replace(":  ", ": "), err=True)


def _document(result: Result, outcome: Mapping[str, Any] | None) -> dict[str, Any]:
    """All of it, for programs: the relay's own words, and what was made of them here."""
    return {
        **result.answer,
        "success": result.success,
        "push_id": result.push_id,
        "idempotency_key": result.idempotency_key,
        "warnings": [problem._asdict() for problem in result.warnings],
        "errors": [problem._asdict() for problem in result.errors],
        **({"push": outcome} if outcome is not None else {}),
    }
