"""Fuzzing of `/v1.0/send/`: each body is accepted or refused with a problem, and none is an internal error.

First the parser and the checks alone, then the real server. Bodies start from a valid one: values of its tree are
replaced, then bytes of its text. `CASES` is the number of examples.
"""

from __future__ import annotations

import asyncio
import json
import os
from datetime import UTC, datetime
from typing import Any

import aiohttp
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from relay.core import strict_json
from relay.core.email_aliases import AddressDigests
from relay.core.errors import RelayError
from relay.core.identifiers import Identifiers
from relay.core.push.content import check_content
from relay.core.push.destinations import EVERYONE, DestinationCheck, check_destinations
from relay.core.push.headers import check_headers, check_token_kind
from relay.core.push.push_types import PUSH_TYPES
from relay.core.push.request import Lifetimes, SendBody
from relay.core.schema import convert
from relay.http.problems import encode_problem
from relay.node.main import Relay

from .store import PATIENCE, Store

CASES = int(os.environ.get("CASES", "100"))
bounded = settings(
    max_examples=CASES,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
)
IDENTIFIERS = Identifiers(("a key of this test, long enough for it",))
ADDRESSES = AddressDigests("a key of this test, long enough for it")
NOW = datetime(2026, 3, 1, tzinfo=UTC)

odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=80),
    st.sampled_from(
        ["", "all", "c_", "d_" + "A" * 44, "\x00", "é" * 40, "😀", "a\r\nb: c", "x" * 5000, "__proto__"]
    ),
    st.sampled_from([2**31, 2**32, 2**63, 2**64, -1, 0, 1e308, 5.0, 10**400]),
    st.sampled_from(list(PUSH_TYPES)),
)
odd_trees = st.recursive(
    odd,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
NAMES = (
    *(
        "app_id",
        "payload",
        "notification",
        "destinations",
        "push_type",
        "priority",
        "expiration",
        "ttl",
        "collapse_id",
        "debug",
    ),
    *(
        "aps",
        "alert",
        "badge",
        "sound",
        "content-available",
        "timestamp",
        "event",
        "content-state",
        "mdm",
        "colour",
    ),
)
SPLINTERS = [
    *(
        b'"',
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\\",
        b"\\u",
        b"\\ud800",
        b"\\u0000",
        b"\x00",
        b"\xff",
        b"\xc3",
    ),
    *(b"NaN", b"Infinity", b"-", b"1e999", b"0x1", b"01", b"9" * 400, b"null", b" ", b"\n", b"\xef\xbb\xbf"),
    *(b'"app_id":1,', b'"a":1,"a":1', b"[" * 300, b'{"a":' * 300, b"/*", b"true"),
]


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """Return every container of the tree with each of its keys."""
    places = []
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        places.append((tree, key))
        places += _places(value)
    return places


@st.composite
def bodies(draw: st.DrawFn, app_id: str, customer: str, device: str) -> bytes:
    """Return a body near a valid one."""
    body: Any = {
        "app_id": app_id,
        "payload": {"aps": {"alert": {"title": "a", "body": "b"}, "badge": 1}, "mine": [1, {"x": None}]},
        "destinations": draw(
            st.sampled_from([{customer: []}, {customer: [device]}, [customer, "ada@example.com"], EVERYONE])
        ),
    }
    more = {"push_type": "alert", "priority": 5, "ttl": 60, "collapse_id": "inbox", "debug": False}
    body |= {name: more[name] for name in draw(st.sets(st.sampled_from(sorted(more))))}
    for _ in range(draw(st.integers(0, 3))):
        container, key = draw(st.sampled_from(_places(body)))
        match draw(st.sampled_from(["exchange", "remove", "add", "rename"])):
            case "exchange":
                container[key] = draw(odd_trees)
            case "remove":
                del container[key]
            case "add" if isinstance(container, dict):
                container[draw(st.sampled_from(NAMES))] = draw(odd_trees)
            case "rename" if isinstance(container, dict):
                container[draw(st.text(max_size=30))] = container.pop(key)
        if not _places(body):
            break
    text = json.dumps(body, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        text = text[:start] + draw(st.sampled_from([b"", text[start:end] * 2, *SPLINTERS])) + text[end:]
    return text


def refused(body: bytes) -> RelayError | None:
    try:
        accept(body)
    except RelayError as error:
        return error
    return None


def accept(body: bytes) -> None:
    """Check a body as the endpoint does. Raises RelayError if the body is invalid."""
    request = convert(strict_json.decode(body), SendBody)
    check_headers(request, NOW, Lifetimes(86_400, 10))
    check_content(request)
    check_token_kind(request)
    if request.destinations != EVERYONE:
        destinations = check_destinations(request.destinations)
        check = DestinationCheck(IDENTIFIERS, ADDRESSES, request.app_id, destinations)
        for _ in check.slices():
            pass
        check.finish()


CUSTOMER = IDENTIFIERS.mint_customer("chess", bytes(16))
DEVICE = IDENTIFIERS.mint_device("chess", CUSTOMER, bytes(16))


@bounded
@given(bodies("chess", CUSTOMER, DEVICE))
def test_a_body_is_accepted_or_refused(body: bytes) -> None:
    error = refused(body)
    if error is not None:
        assert 400 <= error.status < 500
        assert all(fault.code and fault.detail for fault in error.faults)
        assert encode_problem(error)


def test_the_unchanged_body_is_valid() -> None:
    accept(
        json.dumps({"app_id": "chess", "payload": {"aps": {}}, "destinations": {CUSTOMER: [DEVICE]}}).encode()
    )


async def test_a_request_is_accepted_or_refused_by_the_server(relay: Relay, store: Store) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    bearer = {"Authorization": f"Bearer {app.push_token}"}
    loop = asyncio.get_running_loop()
    accepted = 0

    async def post(body: bytes, headers: dict[str, str]) -> None:
        nonlocal accepted
        patience = aiohttp.ClientTimeout(PATIENCE)
        async with store.http.post(
            "/v1.0/send/", data=body, headers=bearer | headers, timeout=patience
        ) as response:
            answer = await response.json(content_type=None)
        assert response.status in (202, 400, 403, 415, 422), (response.status, answer)
        if response.status == 202:
            accepted += 1
        else:
            assert response.content_type == "application/problem+json"
            assert answer["success"] is False
            assert answer["errors"]

    types = [
        "application/json",
        "application/json; charset=utf-8",
        "text/plain",
        "application/json; =",
        "é",
        "",
    ]

    @bounded
    @given(
        bodies(app.app_id, copy.customer, copy.device),
        st.sampled_from([{"Content-Type": value} for value in types[:1] * 8 + types]),
        st.sampled_from([{}] * 8 + [{"Content-Encoding": "gzip"}, {"Content-Encoding": "identity"}]),
    )
    def tried(body: bytes, kind: dict[str, str], encoding: dict[str, str]) -> None:
        asyncio.run_coroutine_threadsafe(post(body, kind | encoding), loop).result()

    await asyncio.to_thread(tried)
    async with relay.database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM push") == accepted
    assert accepted, "some were right"
