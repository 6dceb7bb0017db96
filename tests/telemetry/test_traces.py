"""The choice of the traces that are recorded."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.ids import make_uuid7
from relay.keys import key_ring
from relay.node.roles import Roles
from relay.node.startup import build_parts, open_traces
from relay.settings import KeysSettings, Settings, SettingsError, TelemetrySettings, load
from relay.store.database import Database
from relay.telemetry.otlp import OtlpTraces
from relay.telemetry.traces import NO_TRACES

COLLECTOR = "http://127.0.0.1:9"
push_ids = st.builds(make_uuid7, st.integers(0, (1 << 48) - 1), st.integers(0, (1 << 74) - 1))


def test_without_a_collector_no_traces_are_recorded() -> None:
    assert open_traces(Settings(), uuid4()) is NO_TRACES
    assert not NO_TRACES.on


def test_the_variable_of_opentelemetry_names_the_collector_unless_ours_does() -> None:
    named = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}
    assert load(None, named).telemetry == TelemetrySettings(endpoint="http://collector:4318")
    ours = {
        **named,
        "PUSH_RELAY_TELEMETRY__ENDPOINT": "http://ours:4318",
        "PUSH_RELAY_TELEMETRY__SAMPLE": "0.5",
    }
    assert load(None, ours).telemetry == TelemetrySettings(endpoint="http://ours:4318", sample=0.5)
    with pytest.raises(SettingsError, match="endpoint"):
        load(None, {"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"})


def test_the_url_is_not_shown() -> None:
    assert "secret" not in repr(Settings(telemetry=TelemetrySettings(endpoint="http://me:secret@collector")))


async def test_missing_libraries_are_named(
    database: Database, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "relay.telemetry.otlp", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    keys = key_ring(KeysSettings(file=str(tmp_path_factory.mktemp("keys") / "keys.yaml")))
    with pytest.raises(SettingsError, match=r"push-relay\[telemetry\]"):
        build_parts(Settings(telemetry=TelemetrySettings(endpoint=COLLECTOR)), keys, database, Roles())


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[OtlpTraces]]:
    """Yield two nodes that record half of all traces, and one that records a tenth."""
    nodes = [OtlpTraces(COLLECTOR, share, uuid4()) for share in (0.5, 0.5, 0.1)]
    yield nodes
    for node in nodes:
        node.close(30)


@given(push=push_ids)
def test_all_nodes_agree_on_a_push(nodes: list[OtlpTraces], push: UUID) -> None:
    root = nodes[0]._root(push)
    assert root == nodes[1]._root(push)
    assert root.trace_id == push.int
    assert root.is_valid


@pytest.mark.parametrize(("node", "share"), [(0, 0.5), (2, 0.1)])
def test_a_share_of_all_pushes_is_traced(nodes: list[OtlpTraces], node: int, share: float) -> None:
    pushes = [make_uuid7(1, step * (1 << 74) // 1009) for step in range(1009)]
    sampled = sum(nodes[node]._root(push).trace_flags.sampled for push in pushes)
    assert abs(sampled / len(pushes) - share) < 0.05
