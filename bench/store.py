"""The store the whole-relay rows push to: a team's key, a publisher, an app for each size, and their devices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.machine import SCRATCH
from bench.population import App, populate
from bench.postgres import Postgres
from bench.relay_process import Api, RelayProcess, operator_token
from bench.work import KEY_ID, TEAM_ID, new_p8


@dataclass(frozen=True)
class Store:
    """Apps by size, smallest first."""

    apps: Sequence[App]


def build(postgres: Postgres, settings: Path, sizes: Sequence[int]) -> Store:
    """Set everything up: the store itself over the API, the devices straight in the database."""
    operator = operator_token(settings)
    with RelayProcess(settings, name="setup") as relay:
        api = Api(relay.port)
        key = {"team_id": TEAM_ID, "environment": "production", "key_id": KEY_ID, "p8": new_p8()}
        api.call("POST", "/v1.0/operator/credentials/", operator, key)
        publisher = api.call("POST", "/v1.0/operator/publishers/", operator, {"name": "Bench"})
        made = [_add_app(api, operator, publisher, size) for size in sorted(sizes)]
        api.close()
    apps = []
    for app_id, token, size in made:
        customers = populate(postgres.url, SCRATCH / "keys.yaml", app_id, size, min(size, 10_000))
        apps.append(App(app_id, token, size, customers))
    postgres.settle()
    return Store(apps)


def _add_app(api: Api, operator: str, publisher: dict[str, str], size: int) -> tuple[str, str, int]:
    body = {"publisher_id": publisher["id"], "name": f"{size} devices"}
    app_id = api.call("POST", "/v1.0/operator/apps/", operator, body)["app_id"]
    made = api.call("POST", f"/v1.0/apps/{app_id}/tokens/", publisher["manage_token"], {"label": "bench"})
    return app_id, made["token"], size
