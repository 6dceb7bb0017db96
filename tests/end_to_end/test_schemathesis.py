"""schemathesis, as anyone would run it against a running relay: its own command, with all its default checks.

Every operation is called with the kind of token that it is for. Half of the values that lead to something stored are
genuine, so that the run gets past the door. The other settings are those of the repository.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from pathlib import Path

import pytest

from relay.node.main import Relay

from .store import Copy, Store

ROOT = Path(__file__).parents[2]
EXAMPLE_APP = "1f0a6c7d9be24e53a8c1d2e3f405162738495a6b"
"""The app of the examples in the document."""
CASES = int(os.environ.get("CASES", "10"))
"""Generated cases for each operation and phase, beside the several hundred that try every constraint there is."""


@pytest.mark.slow
async def test_schemathesis_finds_no_failure(relay: Relay, store: Store, tmp_path: Path) -> None:
    copy, pushes = await _used_app(store)
    app, publisher = copy.app, copy.app.publisher
    app_ids, push_ids = {"body.app_id": [app.app_id]}, {"path.push_id": pushes}
    channel_ids = {"path.channel_id": await _channels(store, copy)}
    sending = app_ids | {"body.destinations": ["all"]}
    settings = (
        (ROOT / "schemathesis.toml").read_text(encoding="utf-8")
        + _operations("Sending", app.push_token, sending)
        + _operations("Results", app.push_token, push_ids)
        + _operations("Customers", app.push_token, {"path.customer_id": [copy.customer]})
        + _operations("Channels", app.push_token, app_ids | channel_ids)
        + _operations("Devices (SDK)", copy.install_token, channel_ids)
        + _operations("Publisher", publisher.manage_token, {"path.app_id": [app.app_id]})
        + _operations("Webhooks", publisher.manage_token, {"path.app_id": [app.app_id]})
        + _operations(
            "Operator",
            store.operator_token,
            {
                **app_ids,
                "path.publisher_id": [publisher.publisher_id],
                "body.publisher_id": [publisher.publisher_id],
                "body.p8": [store.apns.issue_key("TEAM000009").p8],
            },
        )
        + _operations("Audit", store.operator_token, {})
    )
    (tmp_path / "schemathesis.toml").write_text(settings, encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("schemathesis")),
        f"--config-file={tmp_path / 'schemathesis.toml'}",
        "--no-color",
        "run",
        f"{relay.url}/v1.0/spec/openapi.yaml",
        f"--max-examples={CASES}",
        "--seed=1",
        "--generation-database=none",
        "--request-timeout=60",
        "--continue-on-failure",
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    print(output.decode()[-3000:])
    assert process.returncode == 0, output.decode()
    assert b" generated, " in output
    async with relay.database.connection() as connection:
        stored = await connection.fetchval("SELECT count(*) FROM push")
    assert stored > len(pushes), "some were sent"


async def _used_app(store: Store) -> tuple[Copy, list[str]]:
    """An app with a copy on a listed test device, and pushes of it that have ended in different ways."""
    app = await store.app(app_id=EXAMPLE_APP)
    copy = await store.copy(app, "anna", "a1", environment="sandbox")
    other = await store.copy(app, "bert", "b1")
    device = {"udid": "a1".ljust(40, "0"), "label": "my phone", "failure_domain": "ok"}
    await store.must("POST", "/v1.0/test-devices/", app.publisher.manage_token, device)
    may = {"installations_attach_aliases": True}
    await store.must("PATCH", f"/v1.0/apps/{app.app_id}/", app.publisher.manage_token, may)
    store.apns.answer(other.device_token, 410, "Unregistered", times=1)
    everybody: dict[str, list[str]] = {copy.customer: [], other.customer: []}
    ended = [
        await store.push(app, everybody, collapse_id="k", ttl=60),
        await store.push(app, everybody, debug=True, expiration=0),
    ]
    return copy, [push["push_id"] for push in ended]


async def _channels(store: Store, copy: Copy) -> list[str]:
    """Channels that keep what is sent to them, or not."""
    bodies = ({"app_id": copy.app.app_id, "message_storage": storage} for storage in (True, False))
    made = [await store.must("POST", "/v1.0/channels/", copy.app.push_token, body) for body in bodies]
    return [channel["id"] for channel in made]


def _operations(tag: str, token: str, genuine: dict[str, list[str]]) -> str:
    """Settings of the operations with that tag: their token, and parameters that are genuine half of the time."""
    lines = [
        "",
        "[[operations]]",
        f'include-tag = "{tag}"',
        f'headers = {{Authorization = "Bearer {token}"}}',
    ]
    dictionaries = []
    for parameter, values in genuine.items():
        name = re.sub(r"\W+", "_", f"{tag}.{parameter}").lower()
        lines.append(f'parameters."{parameter}" = {{dictionary = "{name}", probability = 0.5}}')
        dictionaries += [f"[dictionaries.{name}]", f"values = {json.dumps(values)}"]
    return "\n".join([*lines, *dictionaries, ""])
