"""Spans as an OpenTelemetry collector receives them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from relay.settings import Settings, TelemetrySettings
from tests.eventually import eventually
from tests.leaks import LEAKS

from .store import ALERT, Store

CALLER = "0af7651916cd43dd8448eb211c80319c"


class Collector:
    """A collector of spans over OTLP/HTTP."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.services: set[str] = set()

    async def take(self, request: web.Request) -> web.Response:
        sent = ExportTraceServiceRequest.FromString(await request.read())
        LEAKS.search(str(sent), "a span")
        for group in sent.resource_spans:
            about = {item.key: item.value.string_value for item in group.resource.attributes}
            self.services.add(about["service.name"])
            for scope in group.scope_spans:
                self.spans += scope.spans
        body = ExportTraceServiceResponse().SerializeToString()
        return web.Response(body=body, content_type="application/x-protobuf")

    async def until(self, *names: str) -> dict[str, Span]:
        """Return the last span of each name, once every name has one."""

        def spans_by_name() -> dict[str, Span]:
            spans = {span.name: span for span in self.spans}
            assert set(names) <= set(spans)
            return spans

        return await eventually(spans_by_name)


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Collector, str]]:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
    collector = Collector()
    application = web.Application()
    application.router.add_post("/v1/traces", collector.take)
    server = TestServer(application)
    await server.start_server(access_log=None)
    yield collector, str(server.make_url("/"))
    await server.close()


@pytest.fixture
def settings(settings: Settings, collector: tuple[Collector, str]) -> Settings:
    return msgspec.structs.replace(settings, telemetry=TelemetrySettings(endpoint=collector[1]))


def attributes(span: Span) -> dict[str, str | int]:
    return {item.key: item.value.string_value or item.value.int_value for item in span.attributes}


@pytest.fixture
async def traced(store: Store, collector: tuple[Collector, str]) -> tuple[str, dict[str, Span]]:
    """Send a push with a `traceparent`. Return its id and its spans by name."""
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    body = {"app_id": app.app_id, "payload": ALERT, "destinations": {copy.customer: []}}
    headers = {
        "Authorization": f"Bearer {app.push_token}",
        "X-Request-Id": "order-4711",
        "traceparent": f"00-{CALLER}-b7ad6b7169203331-01",
    }
    async with store.http.post("/v1.0/send/", json=body, headers=headers) as response:
        push_id = (await response.json())["push_id"]
    await store.done(app, push_id)
    names = ("POST /v1.0/send/", "accept push", "store pushes", "send batch", "settle")
    return push_id, await collector[0].until(*names)


async def test_the_request_of_a_push_belongs_to_the_trace_of_its_caller(
    traced: tuple[str, dict[str, Span]], collector: tuple[Collector, str]
) -> None:
    push_id, spans = traced
    request = spans["POST /v1.0/send/"]
    assert request.trace_id.hex() == CALLER
    assert request.parent_span_id.hex() == "b7ad6b7169203331"
    assert [link.trace_id for link in request.links] == [UUID(push_id).bytes]
    expected = {
        "push_relay.push_id": push_id,
        "push_relay.request_id": "order-4711",
        "http.route": "/v1.0/send/",
        "http.response.status_code": 202,
    }
    assert expected.items() <= attributes(request).items()
    assert collector[0].services == {"push-relay"}


async def test_the_trace_of_a_push_has_its_id(traced: tuple[str, dict[str, Span]]) -> None:
    push_id, spans = traced
    trace_id = UUID(push_id).bytes
    accepted, sent = spans["accept push"], spans["send batch"]
    assert accepted.trace_id == sent.trace_id == trace_id
    assert accepted.parent_span_id == b""
    assert sent.parent_span_id == accepted.span_id == trace_id[8:]
    assert accepted.links[0].trace_id.hex() == CALLER
    assert attributes(sent)["push_relay.delivered"] == 1
    for name in ("store pushes", "settle"):
        assert [link.trace_id for link in spans[name].links] == [trace_id]
        assert spans[name].parent_span_id == b""


async def test_an_error_has_a_span_without_its_text(store: Store, collector: tuple[Collector, str]) -> None:
    status, _ = await store.call("GET", "/v1.0/pushes/secret-text-in-a-path/", "secret-unknown-token")
    assert status == 401
    spans = await collector[0].until("GET /v1.0/pushes/{push_id}/")
    assert attributes(spans["GET /v1.0/pushes/{push_id}/"])["http.response.status_code"] == 401
    assert "secret-text" not in str(collector[0].spans)
