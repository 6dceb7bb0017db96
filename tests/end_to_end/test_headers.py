"""Security headers: every answer has them, and none names the software behind it."""

from __future__ import annotations

from relay.node.main import Relay

from .raw import say
from .store import ALERT, Store

ALWAYS = {
    "Server": "push-relay",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
NOTHING = "default-src 'none'; frame-ancestors 'none'"


async def test_security_headers_are_on_every_answer(relay: Relay, store: Store) -> None:
    app = await store.app()
    bearer = {"Authorization": f"Bearer {app.push_token}"}
    good = {"app_id": app.app_id, "payload": ALERT, "destinations": "all"}
    page = "/v1.0/spec/"
    copy = await store.copy(app, "anna", "a1")
    install = {"Authorization": f"Bearer {copy.install_token}"}
    for method, path, body, headers, status in (
        ("GET", "/healthz", None, {}, 200),
        ("HEAD", "/healthz", None, {}, 200),
        ("POST", "/v1.0/send/", good, bearer, 202),
        ("POST", "/v1.0/send/", {}, bearer, 422),
        ("POST", "/v1.0/send/", good, {}, 401),
        ("POST", "/v1.0/send/", good, install, 403),
        ("GET", "/v1.0/send/", None, bearer, 405),
        ("POST", "/v1.0/send/", None, {"Expect": "wonders"}, 417),
        ("DELETE", "/v1.0/installation/device-token/", None, install, 204),
        ("GET", "/nothing", None, {}, 404),
        ("GET", page, None, {}, 200),
        ("GET", f"{page}openapi.yaml", None, {}, 200),
        ("GET", f"{page}swagger-ui.css", None, {}, 200),
        ("GET", f"{page}nothing", None, {}, 404),
    ):
        async with store.http.request(method, path, json=body, headers=headers) as response:
            where = (method, path, response.headers)
            assert response.status == status, where
            assert ALWAYS.items() <= response.headers.items(), where
            policy = response.headers.getall("Content-Security-Policy")
            assert len(policy) == 1, where
            if path == page:
                assert "script-src 'self'" in policy[0]
            else:
                assert policy[0] == NOTHING, where
            if not path.startswith(page) or status >= 400:
                assert response.headers["Cache-Control"] == "no-store", where
            assert not {"X-Powered-By", "Via"} & set(response.headers), where


async def test_security_headers_are_on_answers_of_the_http_parser(relay: Relay) -> None:
    answer = await say(relay.url, b"EHLO relay\r\n\r\n")
    assert answer is not None
    assert answer.status == 400
    assert {name.lower(): value for name, value in ALWAYS.items()}.items() <= answer.headers.items()
    assert answer.headers["cache-control"] == "no-store"
