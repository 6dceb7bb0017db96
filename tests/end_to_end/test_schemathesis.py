"""schemathesis, as anyone would run it against a running relay: its own command, all its default checks and phases.

One run for each kind of token, over what that token is for. Some values of the runs are genuine (an app, its
identifiers, pushes that ended, a key), so that they get past the door; the settings are those of the repository.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from relay.app import Relay

from .store import Copy, Store

ROOT = Path(__file__).parents[2]
TAGS = {
    "push": ("Sending", "Results", "Service"),
    "install": ("Devices (SDK)",),
    "manage": ("Publisher", "Results"),
    "operator": ("Operator",),
}
CASES = 4
"""Generated cases for each operation and phase, besides those that try every constraint of the description."""


async def schemathesis(relay: Relay, directory: Path, token: str, tags: tuple[str, ...], genuine: str) -> None:
    """Fails with what schemathesis found. `genuine` is added to the settings of the repository."""
    config = directory / "schemathesis.toml"
    config.write_text((ROOT / "schemathesis.toml").read_text(encoding="utf-8") + genuine, encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("schemathesis")),
        f"--config-file={config}",
        "--no-color",
        "run",
        f"{relay.url}/v1.0/spec/openapi.yaml",
        f"--header=Authorization: Bearer {token}",
        *(f"--include-tag={tag}" for tag in tags),
        f"--max-examples={CASES}",
        "--seed=1",
        "--generation-database=none",
        "--continue-on-failure",
        cwd=directory,
        env={name: value for name, value in os.environ.items() if name not in ("CI", "GITHUB_ACTIONS")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        pytest.fail(output.decode(), pytrace=False)


def genuine(values: dict[str, list[str]], body: dict[str, Any] | None = None) -> str:
    """Settings: parameters that take one of these values half of the time, and parts of the body that are so always."""
    dictionaries = [
        f"[dictionaries.{name.replace('.', '_')}]\nvalues = {json.dumps(texts)}\n" for name, texts in values.items()
    ]
    parameters = [
        f'"{name}" = {{dictionary = "{name.replace(".", "_")}", probability = 0.5}}\n' for name in values
    ]
    fixed = [f'"body.{name}" = {_toml(value)}\n' for name, value in (body or {}).items()]
    return "\n" + "".join(dictionaries) + "[parameters]\n" + "".join(parameters) + "".join(fixed)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    return json.dumps(value)


async def test_a_push_token(relay: Relay, tmp_path: Path, store: Store) -> None:
    copy, pushes = await _used_app(store)
    values = {"path.push_id": pushes, "body.app_id": [copy.app.app_id]}
    await schemathesis(relay, tmp_path, copy.app.push_token, TAGS["push"], genuine(values))


async def test_a_push_token_with_its_own_destinations(relay: Relay, tmp_path: Path, store: Store) -> None:
    copy, _ = await _used_app(store)
    body = {"app_id": copy.app.app_id, "destinations": {copy.customer: [copy.device]}}
    await schemathesis(relay, tmp_path, copy.app.push_token, ("Sending",), genuine({}, body))


async def test_an_install_token(relay: Relay, tmp_path: Path, store: Store) -> None:
    copy, _ = await _used_app(store)
    await schemathesis(relay, tmp_path, copy.install_token, TAGS["install"], "")


async def test_a_manage_token(relay: Relay, tmp_path: Path, store: Store) -> None:
    copy, pushes = await _used_app(store)
    values = {"path.push_id": pushes, "path.app_id": [copy.app.app_id]}
    token = copy.app.publisher.manage_token
    await schemathesis(relay, tmp_path, token, TAGS["manage"], genuine(values))


async def test_an_operator_token(relay: Relay, tmp_path: Path, store: Store) -> None:
    copy, _ = await _used_app(store)
    values = {
        "body.p8": [store.apns.issue_key("TEAM000009").p8],
        "body.app_id": [copy.app.app_id],
        "body.publisher_id": [copy.app.publisher.publisher_id],
        "path.publisher_id": [copy.app.publisher.publisher_id],
    }
    await schemathesis(relay, tmp_path, store.operator_token, TAGS["operator"], genuine(values))


@pytest.mark.parametrize("tag", ["Devices (SDK)", "Publisher"])
async def test_a_token_of_another_kind(relay: Relay, tmp_path: Path, store: Store, tag: str) -> None:
    copy, _ = await _used_app(store)
    await schemathesis(relay, tmp_path, copy.app.push_token, (tag,), "")


async def _used_app(store: Store) -> tuple[Copy, list[str]]:
    """An app with a copy on a listed test device, and pushes of it that have ended in different ways."""
    app = await store.app()
    copy, other = await store.copy(app, "anna", "a1", environment="sandbox"), await store.copy(app, "bert", "b1")
    device = {"udid": "a1".ljust(40, "0"), "label": "my phone", "failure_domain": "ok"}
    await store.must("POST", "/v1.0/test-devices/", app.publisher.manage_token, device)
    store.apns.answer(other.device_token, 410, "Unregistered", times=1)
    everybody = {copy.customer: [], other.customer: []}
    ended = [
        await store.push(app, everybody, collapse_id="k", ttl=60),
        await store.push(app, everybody, debug=True, expiration=0),
    ]
    return copy, [push["push_id"] for push in ended]
