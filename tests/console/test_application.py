"""Headers and errors of the console."""

from __future__ import annotations

from tests.end_to_end.store import Store


async def test_headers_and_errors(store: Store) -> None:
    async with store.http.get("/console/") as answer:
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["Cache-Control"] == "no-store"
    async with store.http.get("/console/static/console.css") as answer:
        assert answer.status == 200
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    async with store.http.get("/console/nowhere/") as answer:
        assert answer.status == 404
        assert answer.content_type == "text/html"
    async with store.http.put("/console/") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
