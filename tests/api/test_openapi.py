"""The description of the API against the routes of the application, and against its own rules."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from relay.api.spec import spec_file
from relay.keys import key_ring
from relay.node.main import Relay
from relay.node.roles import ALL_ROLES
from relay.node.startup import build_parts
from relay.settings import ConsoleSettings, KeysSettings, Settings
from relay.store.database import Database
from relay.store.operations.audit import AuditAction

METHODS = ("get", "put", "post", "delete", "patch")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(spec_file().read_text(encoding="utf-8"))
    return loaded


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield method, path, item[method]


async def test_the_description_has_exactly_the_routes_of_the_application(
    document: dict[str, Any], database: Database, tmp_path: Path
) -> None:
    keys = key_ring(KeysSettings(file=str(tmp_path / "keys.yaml")))
    no_pages = Settings(console=ConsoleSettings(enabled=False))  # the console is not part of the API
    router = Relay(build_parts(no_pages, keys, database, ALL_ROLES), ALL_ROLES).application.router
    served = {
        (route.method.lower(), route.resource.canonical)
        for route in router.routes()
        if route.resource is not None and route.method != "HEAD"  # aiohttp adds it to each GET
    } - {("get", "/metrics")}  # for Prometheus, not part of the API
    described = {(method, path) for method, path, _ in operations(document)}
    aliases = {(method, path.rstrip("/")) for method, path in described if path.endswith("/")}
    assert aliases <= served
    assert served - aliases == described


def test_the_description_is_valid_openapi(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


def test_every_example_fits_its_schema(document: dict[str, Any]) -> None:
    examples = list(_examples(document))
    assert len(examples) > 20
    for schema, value in examples:
        whole = {**schema, "components": document["components"]}
        faults = [
            f"{error.json_path}: {error.message}" for error in Draft202012Validator(whole).iter_errors(value)
        ]
        assert faults == [], value


def _examples(node: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    """Yield (schema, example) for all schemas, parameters and bodies."""
    if isinstance(node, list):
        for item in node:
            yield from _examples(item)
    if not isinstance(node, dict):
        return
    examples = node.get("examples", {})
    if "schema" in node:
        schema = node["schema"]
        yield from ((schema, example["value"]) for example in examples.values())
    else:
        schema = node
        yield from ((schema, example) for example in examples or [])
    if "example" in node:
        yield schema, node["example"]
    for key, child in node.items():
        if key not in ("example", "examples"):
            yield from _examples(child)


def test_every_operation_is_complete(document: dict[str, Any]) -> None:
    tags = [tag["name"] for tag in document["tags"]]
    operation_ids, order = set(), []
    for method, path, operation in operations(document):
        assert operation["operationId"] not in operation_ids
        operation_ids.add(operation["operationId"])
        assert len(operation["summary"]) <= 60, path
        assert not operation["summary"].endswith("."), path
        order += operation["tags"]
        statuses = operation["responses"].keys()
        if operation["security"]:
            assert {"401", "403", "503"} <= statuses, (method, path)
        if "requestBody" in operation:
            assert {"400", "413", "415", "422"} <= statuses, (method, path)
        if "{" in path:
            assert "404" in statuses, (method, path)
    assert list(dict.fromkeys(order)) == tags


def test_every_action_of_the_audit_log_is_described(document: dict[str, Any]) -> None:
    described = document["components"]["schemas"]["AuditEntry"]["properties"]["action"]["enum"]
    assert described == list(AuditAction)


def test_every_error_is_a_problem(document: dict[str, Any]) -> None:
    for _, path, operation in operations(document):
        for status, response in operation["responses"].items():
            if "$ref" in response:
                response = document["components"]["responses"][response["$ref"].rpartition("/")[2]]
            assert response["description"], path
            if status >= "400":
                assert response["content"].keys() == {"application/problem+json"}, (path, status)
            if status in ("401", "503"):
                assert response["headers"], (path, status)
