"""`/v1.0/spec/`: the description of the API, in OpenAPI 3.1 and as a page that loads nothing from other hosts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from aiohttp import hdrs, web
from openapi_ui_bundles import swagger_ui

from relay.core.errors import NotFound

_ASSETS = Path(swagger_ui.static_path)
_ASSET_TYPES = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}
_PACKAGE = Path(__file__).parent.parent
_START = """"use strict";
window.onload = () => SwaggerUIBundle({url: "/v1.0/spec/openapi.yaml", dom_id: "#page", deepLinking: true,
  validatorUrl: null, presets: [SwaggerUIBundle.presets.apis]});
"""
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Push relay API</title>
<link rel="stylesheet" href="/v1.0/spec/swagger-ui.css">
<link rel="icon" type="image/png" href="/v1.0/spec/favicon-32x32.png">
</head>
<body>
<noscript>The same as text: <a href="/v1.0/spec/openapi.yaml">openapi.yaml</a>.</noscript>
<div id="page"></div>
<script src="/v1.0/spec/swagger-ui-bundle.js"></script>
<script src="/v1.0/spec/start.js"></script>
</body>
</html>
"""
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


def spec_file() -> Path:
    """Return the path of openapi.yaml: within the package in a wheel, in `openapi/` in a checkout."""
    packaged = _PACKAGE / "_openapi" / "openapi.yaml"
    return packaged if packaged.exists() else _PACKAGE.parent / "openapi" / "openapi.yaml"


class SpecApi:
    """Endpoints of the description: the page with its files, and the OpenAPI document."""

    def routes(self) -> Iterable[web.RouteDef]:
        """Return all routes with their handlers."""
        yield web.get("/v1.0/spec/", self.show_page)
        yield web.get("/v1.0/spec", self.show_page)
        yield web.get("/v1.0/spec/openapi.yaml", self.show_document)
        yield web.get("/v1.0/spec/{asset}", self.show_asset)

    async def show_page(self, _: web.Request) -> web.Response:
        """`GET /v1.0/spec/`: the description as a page to read and try."""
        return web.Response(
            text=_PAGE, content_type="text/html", headers={"Content-Security-Policy": _POLICY}
        )

    async def show_document(self, _: web.Request) -> web.Response:
        """`GET /v1.0/spec/openapi.yaml`: the description."""
        return _answer_file(spec_file(), "application/yaml; charset=utf-8")

    async def show_asset(self, request: web.Request) -> web.StreamResponse:
        """`GET /v1.0/spec/{asset}`: a script, style sheet or icon of the page."""
        name = request.match_info["asset"]
        if name == "start.js":
            return web.Response(text=_START, content_type="text/javascript")
        if name not in _ASSET_TYPES:
            raise NotFound("There is nothing at this path.")
        return _answer_file(_ASSETS / name, _ASSET_TYPES[name])


def _answer_file(path: Path, content_type: str) -> web.Response:
    # An open file is sent in pieces. Bytes would stay in memory for each caller that reads slowly.
    headers = {hdrs.CONTENT_TYPE: content_type, hdrs.CACHE_CONTROL: "no-cache"}
    return web.Response(body=path.open("rb"), headers=headers)
