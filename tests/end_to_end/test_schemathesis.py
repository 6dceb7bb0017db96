"""schemathesis, as anyone would run it against a running relay: its own command, with all its default checks.

One run for each kind of token, over what that token is for, all at the same time. Half of the values that lead to
something stored are genuine, so that the runs get past the door. The settings are those of the repository.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from relay.app import Relay

from .store import Copy, Store

ROOT = Path(__file__).parents[2]
ALL_PHASES = "examples,coverage,fuzzing,stateful"
CASES = 4
"""Generated cases for each operation and phase, beside the several hundred that try every constraint there is."""


class Runs:
    """Starts schemathesis against one relay and gathers what it found."""

    def __init__(self, relay: Relay, directory: Path) -> None:
        self._relay = relay
        self._directory = directory
        self.failures: list[str] = []

    async def run(
        self, token: str, tags: str, genuine: str = "", *, phases: str = ALL_PHASES, cases: int = CASES
    ) -> None:
        """One run over the operations with those tags. `genuine` is added to the settings of the repository."""
        directory = self._directory / str(abs(hash((token, tags, phases))))
        directory.mkdir()
        config = directory / "schemathesis.toml"
        config.write_text(
            (ROOT / "schemathesis.toml").read_text(encoding="utf-8") + genuine, encoding="utf-8"
        )
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("schemathesis")),
            f"--config-file={config}",
            "--no-color",
            "run",
            f"{self._relay.url}/v1.0/spec/openapi.yaml",
            f"--header=Authorization: Bearer {token}",
            *(f"--include-tag={tag}" for tag in tags.split(", ")),
            f"--phases={phases}",
            f"--max-examples={cases}",
            "--seed=1",
            "--generation-database=none",
            "--request-timeout=60",
            "--continue-on-failure",
            cwd=directory,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode or b" generated, " not in output:
            self.failures.append(f"{tags}\n{output.decode()}")


async def test_schemathesis_finds_no_failure(relay: Relay, store: Store, tmp_path: Path) -> None:
    copy, pushes = await _used_app(store)
    app, publisher = copy.app, copy.app.publisher
    runs = Runs(relay, tmp_path)
    async with asyncio.TaskGroup() as group:
        for run in (
            runs.run(
                app.push_token,
                "Sending, Results, Service",
                _often({"path.push_id": pushes, "body.app_id": [app.app_id]}),
            ),
            runs.run(
                app.push_token,
                "Sending",
                _always(app_id=app.app_id, destinations={copy.customer: [copy.device]}),
                phases="examples,fuzzing",
                cases=5 * CASES,
            ),
            runs.run(copy.install_token, "Devices (SDK)", phases="examples,coverage,fuzzing"),  # no links
            runs.run(
                publisher.manage_token,
                "Publisher, Results",
                _often({"path.push_id": pushes, "path.app_id": [app.app_id]}),
            ),
            runs.run(
                store.operator_token,
                "Operator",
                _often(
                    {
                        "path.publisher_id": [publisher.publisher_id],
                        "body.publisher_id": [publisher.publisher_id],
                        "body.app_id": [app.app_id],
                        "body.p8": [store.apns.issue_key("TEAM000009").p8],
                    }
                ),
            ),
        ):
            group.create_task(run)
    assert not runs.failures, "\n".join(runs.failures)


async def _used_app(store: Store) -> tuple[Copy, list[str]]:
    """An app with a copy on a listed test device, and pushes of it that have ended in different ways."""
    app = await store.app()
    copy = await store.copy(app, "anna", "a1", environment="sandbox")
    other = await store.copy(app, "bert", "b1")
    device = {"udid": "a1".ljust(40, "0"), "label": "my phone", "failure_domain": "ok"}
    await store.must("POST", "/v1.0/test-devices/", app.publisher.manage_token, device)
    store.apns.answer(other.device_token, 410, "Unregistered", times=1)
    everybody: dict[str, list[str]] = {copy.customer: [], other.customer: []}
    ended = [
        await store.push(app, everybody, collapse_id="k", ttl=60),
        await store.push(app, everybody, debug=True, expiration=0),
    ]
    return copy, [push["push_id"] for push in ended]


def _often(values: dict[str, list[str]]) -> str:
    """Settings: these parameters and fields take one of their values half of the time."""
    names = {parameter: parameter.replace(".", "_") for parameter in values}
    return "\n".join(
        [
            "",
            *(f"[dictionaries.{names[one]}]\nvalues = {json.dumps(texts)}" for one, texts in values.items()),
            "[parameters]",
            *(f'"{one}" = {{dictionary = "{name}", probability = 0.5}}' for one, name in names.items()),
        ]
    )


def _always(**fields: Any) -> str:
    """Settings: these fields of the body always have that value."""
    return "\n".join(
        ["", "[parameters]", *(f'"body.{name}" = {_toml(value)}' for name, value in fields.items())]
    )


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    return json.dumps(value)
