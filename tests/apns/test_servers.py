"""The connection against independent HTTP/2 servers: nginx, nghttpd, Node's http2, Go's net/http."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trustme

from relay.apns.connection import Timing
from relay.apns.pool import Endpoint
from relay.apns.sender import ApnsSender, SenderLimits
from relay.core.accounts import Environment
from relay.core.delivery.sending import DELIVERED, Answer, Fate, SendBatch
from tests.apns.clients import new_key, outcomes
from tests.eventually import eventually
from tests.factories import make_credential, make_send_batch

PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/go/bin"])
TIMING = Timing(response=60, tick=0.1, drain=1)


@pytest.fixture(autouse=True)
def only_ours(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--stock-aioapns", default=False):
        pytest.skip("about ours")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """cert.pem, key.pem and ca.pem for localhost."""
    ca = trustme.CA()
    issued = ca.issue_cert("localhost", "127.0.0.1")
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    issued.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    (tmp_path / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    return tmp_path


def free_port() -> int:
    """Return a free port that no outgoing connection takes before the server does: one below the ephemeral ones."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@asynccontextmanager
async def running(folder: Path, port: int, *command: str) -> AsyncIterator[ApnsSender]:
    """Run a server process and yield a sender to it."""
    program = shutil.which(command[0], path=PATH)
    assert program is not None
    log = (folder / "log").open("wb")
    process = await asyncio.create_subprocess_exec(program, *command[1:], cwd=folder, stdout=log, stderr=log)
    try:

        async def connect() -> asyncio.StreamWriter:
            assert process.returncode is None, (folder / "log").read_text()
            return (await asyncio.open_connection("127.0.0.1", port))[1]

        (await eventually(connect, poll_seconds=0.05)).close()
        endpoint = Endpoint("localhost", port, str(folder / "ca.pem"))
        sender = ApnsSender(
            dict.fromkeys(Environment, endpoint),
            limits=SenderLimits(connections_per_credential=2),
            timing=TIMING,
        )
        yield sender
        await sender.aclose()
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        log.close()


async def send(sender: ApnsSender, key: str, *batches: SendBatch) -> None:
    async with asyncio.timeout(90):
        await sender.send(make_credential(secret=key), batches)


NGINX = """
daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{
    listen 127.0.0.1:{port} ssl http2; keepalive_requests {requests};
    ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
    location / {{ add_header apns-id $http_apns_id always; return 200; }}
    location ~ 0$ {{ return 410 '{{"reason": "Unregistered", "timestamp": 7}}'; }}
  }}
}}
"""


def nginx(folder: Path, port: int, requests: int) -> tuple[str, ...]:
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port, requests=requests))
    return "nginx", "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")


@pytest.mark.needs("nginx")
async def test_nginx(folder: Path) -> None:
    key, port = new_key(), free_port()
    tokens = [f"{n:064x}" for n in range(3_000)]
    batch, large = (
        make_send_batch(size=3_000, device_tokens=tokens),
        make_send_batch(size=200, payload=b"x" * 4_096),
    )
    singles = [make_send_batch(size=1, payload=b'{"n":%d}' % n) for n in range(300)]
    async with running(folder, port, *nginx(folder, port, 1_000_000)) as sender:
        await send(sender, key, batch, large, *singles)
    gone = Answer(Fate.ANSWERED, 410, "Unregistered", 7)
    assert batch.answers == [gone if token.endswith("0") else DELIVERED for token in tokens]
    assert all(answer and answer.status in {200, 410} for one in (large, *singles) for answer in one.answers)


@pytest.mark.needs("nginx")
async def test_nginx_limits_a_connection(folder: Path) -> None:
    """GOAWAY after 100 requests: no push is lost or sent twice when the rest is sent again."""
    key, port = new_key(), free_port()
    async with running(folder, port, *nginx(folder, port, 100)) as sender:
        left = 1_000
        rounds = 0
        while left and rounds < 50:
            batch = make_send_batch(size=left, device_tokens=[f"{n:063x}1" for n in range(left)])
            await send(sender, key, batch)
            assert {outcome.fate for outcome in outcomes(batch)} <= {"answered", "not_sent"}
            left = sum(answer is not DELIVERED for answer in batch.answers)
            rounds += 1
    assert left == 0
    assert rounds >= 5


@pytest.mark.needs("nghttpd")
async def test_nghttpd(folder: Path) -> None:
    """404 with an HTML page, and a server that uses a dynamic header table."""
    key, port = new_key(), free_port()
    command = (
        "nghttpd",
        "-d",
        str(folder),
        "--header-table-size=100",
        "-m",
        "50",
        str(port),
        "key.pem",
        "cert.pem",
    )
    batch = make_send_batch(size=1_000, payload=b"x" * 2_000)
    async with running(folder, port, *command) as sender:
        await send(sender, key, batch, make_send_batch(size=3, payload=b""))
    assert batch.answers == [Answer(Fate.ANSWERED, 404)] * 1_000


@pytest.mark.needs("nghttpd")
async def test_nghttpd_echo(folder: Path) -> None:
    """Successes with a body: windows in both directions, 4 MB each way."""
    key, port = new_key(), free_port()
    command = ("nghttpd", "--echo-upload", "-w", "10", "-W", "12", str(port), "key.pem", "cert.pem")
    batch = make_send_batch(size=1_000, payload=b"x" * 4_000)
    async with running(folder, port, *command) as sender:
        await send(sender, key, batch)
    assert batch.answers == [DELIVERED] * 1_000


NODE = """
const http2 = require('http2'), fs = require('fs');
const server = http2.createSecureServer({
  key: fs.readFileSync('key.pem'), cert: fs.readFileSync('cert.pem'),
  settings: { maxConcurrentStreams: 10, initialWindowSize: 100 },
});
server.on('session', session => {
  let count = 0;
  session.on('error', () => {});
  session.on('stream', (stream, headers) => {
    count += 1;
    stream.on('error', () => {});
    if (count === 30) session.settings({ maxConcurrentStreams: 1 });
    if (count === 60) session.settings({ maxConcurrentStreams: 500, initialWindowSize: 60000 });
    if (count === 90) session.ping(Buffer.alloc(8), () => {});
    const token = headers[':path'].split('/').pop(), last = token.slice(-1);
    stream.on('data', () => {});
    stream.on('end', () => {
      if (last === '0') { stream.respond({ ':status': 410, 'apns-id': headers['apns-id'] });
        stream.end('{"reason": "Unregistered", "timestamp": 7}'); }
      else if (last === '1') stream.close(http2.constants.NGHTTP2_REFUSED_STREAM);
      else if (last === '2') { stream.additionalHeaders({ ':status': 103, link: 'x' });
        stream.respond({ ':status': 400 }, { waitForTrailers: true });
        stream.on('wantTrailers', () => stream.sendTrailers({ sum: 'x' }));
        stream.end('{"reason": "BadTopic"}'); }
      else stream.respond({ ':status': 200, 'apns-id': headers['apns-id'], 'x-n': String(count % 7) },
                          { endStream: true });
      if (token.startsWith('f')) session.close();
    });
  });
});
server.on('sessionError', () => {});
server.listen(Number(process.argv[2]), '127.0.0.1');
"""


@pytest.mark.needs("node")
async def test_node(folder: Path) -> None:
    (folder / "server.js").write_text(NODE)
    key, port = new_key(), free_port()
    tokens = [f"{n:064x}" for n in range(800)]
    batch = make_send_batch(size=800, payload=b"x" * 1_000, device_tokens=tokens)
    expected = {
        "0": Answer(Fate.ANSWERED, 410, "Unregistered", 7),
        "1": Answer(Fate.NOT_SENT, reason="RefusedStream"),
        "2": Answer(Fate.ANSWERED, 400, "BadTopic"),
    }
    async with running(folder, port, "node", "server.js", str(port)) as sender:
        await send(sender, key, batch)
        assert batch.answers == [expected.get(token[-1], DELIVERED) for token in tokens]
        # session.close(): GOAWAY, and what was begun is still answered
        closing = make_send_batch(size=50, device_tokens=["f" * 64] + [f"{n:063x}9" for n in range(49)])
        await send(sender, key, closing)
        fates = {outcome.fate for outcome in outcomes(closing)}
        assert fates <= {"answered", "not_sent"}
        assert closing.answers[0] is DELIVERED
        again = make_send_batch(size=20, device_tokens=[f"{n:063x}9" for n in range(20)])
        await send(sender, key, again)
        assert again.answers == [DELIVERED] * 20


GO = """
package main

import ("fmt"; "io"; "net/http"; "os"; "strings")

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("apns-id", r.Header.Get("apns-id"))
		if strings.HasSuffix(r.URL.Path, "0") {
			w.WriteHeader(410)
			fmt.Fprint(w, `{"reason": "Unregistered", "timestamp": 7}`)
		}
	})
	panic(http.ListenAndServeTLS("127.0.0.1:"+os.Args[1], "cert.pem", "key.pem", nil))
}
"""


@pytest.mark.needs("go")
async def test_go(folder: Path) -> None:
    (folder / "main.go").write_text(GO)
    key, port = new_key(), free_port()
    tokens = [f"{n:064x}" for n in range(2_000)]
    batch = make_send_batch(size=2_000, payload=b"x" * 500, device_tokens=tokens)
    program = shutil.which("go", path=PATH)
    assert program is not None
    build = await asyncio.create_subprocess_exec(
        program,
        "build",
        "-o",
        "server",
        "main.go",
        cwd=folder,
        env=os.environ | {"GO111MODULE": "off", "CGO_ENABLED": "0"},
    )
    assert await build.wait() == 0
    async with running(folder, port, str(folder / "server"), str(port)) as sender:
        await send(sender, key, batch)
    gone = Answer(Fate.ANSWERED, 410, "Unregistered", 7)
    assert batch.answers == [gone if token.endswith("0") else DELIVERED for token in tokens]


def test_tls_context() -> None:
    from relay.apns.pool import tls_context

    context = tls_context(None)
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
