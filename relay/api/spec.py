"""The API description: OpenAPI 3.1 as YAML, and as a page that needs nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from aiohttp import hdrs, web
from openapi_ui_bundles import swagger_ui

from relay.core.errors import NotFound

_ASSETS = Path(swagger_ui.static_path)
_SERVED = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}
_HERE = Path(__file__).parent.parent
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
    """Where openapi.yaml is: in the wheel beside the package, in a checkout in `openapi/`."""
    packaged = _HERE / "_openapi" / "openapi.yaml"
    return packaged if packaged.exists() else _HERE.parent / "openapi" / "openapi.yaml"


class SpecApi:
    """Serves the description."""

    def routes(self) -> Iterable[web.RouteDef]:
        """The routes of this API."""
        yield web.get("/v1.0/spec/", self.page)
        yield web.get("/v1.0/spec", self.page)
        yield web.get("/v1.0/spec/openapi.yaml", self.document)
        yield web.get("/v1.0/spec/{asset}", self.asset)

    async def page(self, _: web.Request) -> web.Response:
        """The description as a page to read and try."""
        return web.Response(
            text=_PAGE, content_type="text/html", headers={"Content-Security-Policy": _POLICY}
        )

    async def document(self, _: web.Request) -> web.Response:
        """The description itself."""
        return _file(spec_file(), "application/yaml; charset=utf-8")

    async def asset(self, request: web.Request) -> web.StreamResponse:
        """A file of the page."""
        name = request.match_info["asset"]
        if name == "start.js":
            return web.Response(text=_START, content_type="text/javascript")
        if name not in _SERVED:
            raise NotFound("There is nothing at this path.")
        return _file(_ASSETS / name, _SERVED[name])


def _file(path: Path, content_type: str) -> web.Response:
    # An open file is sent in pieces; as bytes it would be held in memory for everyone who does not take it.
    headers = {hdrs.CONTENT_TYPE: content_type, hdrs.CACHE_CONTROL: "no-cache"}
    return web.Response(body=path.open("rb"), headers=headers)
