"""The store that the whole-relay rows push to: keys of a team, a publisher, an app for each size, and devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.machine import SCRATCH
from bench.population import BenchApp, Signing, populate
from bench.postgres import BenchPostgres
from bench.relay_process import BenchApi, RelayProcess, operator_token
from bench.work import KEY_ID, TEAM_ID, new_p8


@dataclass(frozen=True)
class BenchStore:
    """Apps in the order of their size, and the apps of `NEIGHBOURS` by name if the plan needs them."""

    apps: Sequence[BenchApp]
    neighbours: Mapping[str, BenchApp]


NEIGHBOURS = {
    "quiet": (1_000, Signing(environment="sandbox")),
    "throttled": (2_000, Signing(bundle_id="store.bench.throttled")),
    "without a credential": (2_000, Signing(team_id="BENCHTEAM2")),
}
"""Their number of devices, and their signing. The quiet app alone uses the sandbox host, where it is measured."""


def build(postgres: BenchPostgres, settings: Path, sizes: Sequence[int], *, neighbours: bool) -> BenchStore:
    """Create keys, publisher and apps over the API and their devices in the database, and return the store."""
    operator = operator_token(settings)
    with RelayProcess(settings, name="setup") as relay:
        api = BenchApi(relay.port)
        for environment in ("production", "sandbox"):
            key = {"team_id": TEAM_ID, "environment": environment, "key_id": KEY_ID, "p8": new_p8()}
            api.call("POST", "/v1.0/operator/credentials/", operator, key)
        publisher = api.call("POST", "/v1.0/operator/publishers/", operator, {"name": "Bench"})

        def add(size: int, signing: Signing) -> BenchApp:
            app_id, token = _add_app(api, operator, publisher)
            keys = SCRATCH / "keys.yaml"
            return BenchApp(
                app_id, token, size, populate(postgres.url, keys, app_id, size, min(size, 10_000), signing)
            )

        with postgres.loading():
            apps = [add(size, Signing()) for size in sorted(sizes)]
            neighbour_apps = (
                {name: add(size, signing) for name, (size, signing) in NEIGHBOURS.items()}
                if neighbours
                else {}
            )
        api.close()
    return BenchStore(apps, neighbour_apps)


def _add_app(api: BenchApi, operator: str, publisher: dict[str, str]) -> tuple[str, str]:
    body = {"publisher_id": publisher["id"], "name": "bench"}
    app_id = api.call("POST", "/v1.0/operator/apps/", operator, body)["app_id"]
    token = {"label": "bench", "broadcast": True}
    answer = api.call("POST", f"/v1.0/apps/{app_id}/tokens/", publisher["manage_token"], token)
    return app_id, answer["token"]
