"""Where messages of webhooks go, over a real network: never where they must not."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

from relay.core.webhooks.messages import Attempt
from relay.dispatch.webhook_receivers import HttpReceivers
from tests.receiver import Receiver

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"type":"webhook.test","timestamp":"2026-03-01T12:00:00Z","data":{}}'
REFUSED = "The host's address is not one that messages may be sent to."


@asynccontextmanager
async def receivers(
    *, allow_private: bool = True, timeout: float = 30, ca_file: Path | None = None
) -> AsyncIterator[HttpReceivers]:
    made = HttpReceivers(
        allow_private=allow_private, timeout=timeout, ca_file=str(ca_file) if ca_file else None
    )
    try:
        yield made
    finally:
        await made.aclose()


async def send(to: HttpReceivers, url: str) -> Attempt:
    return await to.send(url, SECRET, "id", BODY, datetime.now(UTC))


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver(secrets={"": SECRET}) as made:
        yield made


async def test_a_message_arrives_signed(receiver: Receiver) -> None:
    async with receivers() as to:
        assert await send(to, receiver.url()) == Attempt(204)
        assert await send(to, receiver.url()) == Attempt(204)
    assert [(one.id, one.type) for one in receiver.messages] == [("id", "webhook.test")] * 2


async def test_nothing_is_sent_to_a_private_address_whatever_it_is_called(
    receiver: Receiver, tmp_path: Path
) -> None:
    """0x7f000001 is a name for everybody but the look-up, which makes 127.0.0.1 of it."""
    async with receivers(allow_private=False) as to:
        assert (await send(to, f"https://0x7f000001:{port(receiver)}/")).error == REFUSED
        for host in ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]"):
            attempt = await send(to, f"https://{host}:{port(receiver)}/")
            assert attempt.status is None
            assert "not public" in attempt.error
    assert not receiver.requests


async def test_plain_http_goes_to_private_addresses_only(receiver: Receiver) -> None:
    async with receivers() as to:
        assert (await send(to, "http://8.8.8.8/")).error == REFUSED
        assert (await send(to, receiver.url())).delivered


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(receiver: Receiver, status: int) -> None:
    receiver.always["moved"] = status
    async with receivers() as to:
        attempt = await send(to, receiver.url("moved"))
    assert (attempt.status, attempt.delivered) == (status, False)
    assert receiver.requests == {"moved": 1}


async def test_the_environments_proxy_is_not_used(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    async with receivers() as to:
        assert (await send(to, receiver.url())).delivered


async def test_tls_is_checked(tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(tls)
    async with Receiver(tls=tls) as receiver:
        async with receivers(ca_file=tmp_path / "ca.pem") as to:
            assert (await send(to, receiver.url())).delivered
            wrong_name = await send(to, receiver.url(host="localhost"))
        async with receivers() as to:
            unknown = await send(to, receiver.url())
    assert wrong_name.error == unknown.error == "The host's certificate is not valid."
    assert len(receiver.messages) == 1


async def test_what_receivers_do_instead_of_answering(receiver: Receiver) -> None:
    receiver.hangs.add("hang")
    async with receivers(timeout=0.5) as to:
        assert (await send(to, receiver.url("hang"))).error == "There was no answer within 0.5 seconds."
    async with receivers(timeout=60) as to:
        for answer, words in (
            (b"", "The connection ended without an answer."),
            (b"SSH-2.0-OpenSSH_9.9\r\n", "The answer is not HTTP."),
            (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, "The answer is not HTTP."),
        ):
            async with raw(answer) as url:
                assert await send(to, url) == Attempt(None, words)
        assert (await send(to, "http://127.0.0.1:1/")).error.startswith("The host refuses the connection")
        assert "cannot be resolved" in (await send(to, "https://nobody.invalid/")).error


async def test_an_answer_without_end_is_not_read(receiver: Receiver) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with receivers(timeout=5) as to, raw(head + b"1000\r\n" + b"x" * 4096 + b"\r\n", ends=False) as url:
        assert await send(to, url) == Attempt(200)


async def test_no_error_names_an_address(receiver: Receiver) -> None:
    async with receivers(timeout=1) as to:
        for url in ("http://127.0.0.1:1/", f"https://127.0.0.1:{port(receiver)}/", "http://127.0.0.1:x/"):
            attempt = await send(to, url)
            assert attempt.status is None
            assert "127.0.0.1" not in attempt.error


def port(receiver: Receiver) -> int:
    return int(receiver.url().rstrip("/").rpartition(":")[2])


@asynccontextmanager
async def raw(answer: bytes, *, ends: bool = True) -> AsyncIterator[str]:
    """A server that says these bytes to everybody."""
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        writer.write(answer)
        if not ends:
            await done.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        done.set()
        server.close()
