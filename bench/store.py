"""The store the whole-relay rows push to: a team's keys, a publisher, an app for each size, and their devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.machine import SCRATCH
from bench.population import BenchApp, Signed, populate
from bench.postgres import BenchPostgres
from bench.relay_process import BenchApi, RelayProcess, operator_token
from bench.work import KEY_ID, TEAM_ID, new_p8


@dataclass(frozen=True)
class BenchStore:
    """Apps by size, smallest first; and those of `NEIGHBOURS` by name, if they were asked for."""

    apps: Sequence[BenchApp]
    neighbours: Mapping[str, BenchApp]


NEIGHBOURS = {
    "quiet": (1_000, Signed(environment="sandbox")),
    "throttled": (2_000, Signed(bundle_id="store.bench.throttled")),
    "without a credential": (2_000, Signed(team_id="BENCHTEAM2")),
}
"""Their devices, and how they are signed. The quiet one has Apple's other host to itself, where it is measured."""


def build(postgres: BenchPostgres, settings: Path, sizes: Sequence[int], *, neighbours: bool) -> BenchStore:
    """Set everything up: the store itself over the API, the devices straight in the database."""
    operator = operator_token(settings)
    with RelayProcess(settings, name="setup") as relay:
        api = BenchApi(relay.port)
        for environment in ("production", "sandbox"):
            key = {"team_id": TEAM_ID, "environment": environment, "key_id": KEY_ID, "p8": new_p8()}
            api.call("POST", "/v1.0/operator/credentials/", operator, key)
        publisher = api.call("POST", "/v1.0/operator/publishers/", operator, {"name": "Bench"})

        def add(size: int, signed: Signed) -> BenchApp:
            app_id, token = _add_app(api, operator, publisher)
            keys = SCRATCH / "keys.yaml"
            return BenchApp(
                app_id, token, size, populate(postgres.url, keys, app_id, size, min(size, 10_000), signed)
            )

        with postgres.loading():
            apps = [add(size, Signed()) for size in sorted(sizes)]
            beside = {name: add(*what) for name, what in NEIGHBOURS.items()} if neighbours else {}
        api.close()
    return BenchStore(apps, beside)


def _add_app(api: BenchApi, operator: str, publisher: dict[str, str]) -> tuple[str, str]:
    body = {"publisher_id": publisher["id"], "name": "bench"}
    app_id = api.call("POST", "/v1.0/operator/apps/", operator, body)["app_id"]
    token = {"label": "bench", "broadcast": True}
    made = api.call("POST", f"/v1.0/apps/{app_id}/tokens/", publisher["manage_token"], token)
    return app_id, made["token"]
