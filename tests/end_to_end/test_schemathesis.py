"""The command `schemathesis` with all its default checks against a running relay.

Every operation is called with a token of the right kind. Half of the identifiers exist, so that requests get past
validation. The other settings are those of the repository.
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
"""The app of the examples in the API description."""
CASES = int(os.environ.get("CASES", "10"))
"""Generated cases per operation and phase, besides several hundred that test each constraint."""


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
    """Create an app with a copy on a listed test device. Return the copy and ids of its pushes."""
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
    """Create a channel with message storage and one without, and return their ids."""
    bodies = ({"app_id": copy.app.app_id, "message_storage": storage} for storage in (True, False))
    channels = [await store.must("POST", "/v1.0/channels/", copy.app.push_token, body) for body in bodies]
    return [channel["id"] for channel in channels]


def _operations(tag: str, token: str, genuine: dict[str, list[str]]) -> str:
    """Return the settings of the operations with a tag: their token, and parameters from `genuine` half of the time."""
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
