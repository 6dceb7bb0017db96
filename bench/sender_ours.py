"""Pushes per second of the sender alone, ours or stock aioapns, against any HTTP/2 server that answers 200.

    python bench/sender_ours.py --url https://localhost:8443 --ca ca.pem --count 200000 --batch 1000

One JSON line per run: pushes per wall second, and per CPU-second of this process (user + system, TLS
included).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import secrets
import time
import uuid
from urllib.parse import urlsplit

import uvloop
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from relay.apns.pool import Endpoint
from relay.apns.sender import ApnsSender
from relay.core.sending import Credential, Environment, Fate, PushHeaders, SendBatch

TOPIC = "com.example.store.app"


def new_key() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def payload_of(size: int) -> bytes:
    frame = b'{"aps":{"alert":"%b"}}'
    return frame % (b"x" * max(1, size - len(frame) + 2))


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def make_batches(count: int, size: int, payload: bytes) -> list[SendBatch]:
    """Batches of `size` pushes with one payload each; their tokens and ids differ."""
    batches = []
    for start in range(0, count, size):
        n = min(size, count - start)
        batches.append(
            SendBatch(
                payload,
                PushHeaders("alert", 10),
                [secrets.token_hex(32) for _ in range(n)],
                [str(uuid.UUID(int=secrets.randbits(128), version=4)) for _ in range(n)],
                [TOPIC] * n,
            )
        )
    return batches


async def run_ours(args: argparse.Namespace, host: str, port: int) -> dict[str, object]:
    sender = ApnsSender(
        dict.fromkeys(Environment, Endpoint(host, port, args.ca)), max_connections=args.connections
    )
    credential = Credential(1, 1, "TEAM000000", Environment.PRODUCTION, "token", "KEY0000000", new_key())
    payload = payload_of(args.payload)
    await sender.send(credential, make_batches(2_000, 1_000, payload))
    batches = make_batches(args.count, args.batch, payload)
    per_call = max(1, args.flight // args.batch)  # pushes per call of send, as dispatch would
    calls = [batches[at : at + per_call] for at in range(0, len(batches), per_call)]
    started, cpu = time.perf_counter(), cpu_seconds()

    async def worker() -> None:
        while calls:
            await sender.send(credential, calls.pop())

    await asyncio.gather(*(worker() for _ in range(args.workers)))
    wall, cpu = time.perf_counter() - started, cpu_seconds() - cpu
    bad = [
        a for b in batches for a in b.answers if a is None or a.fate is not Fate.ANSWERED or a.status != 200
    ]
    await sender.aclose()
    return {"wall_per_s": args.count / wall, "cpu_per_s": args.count / cpu, "failed": len(bad)}


async def run_aioapns(args: argparse.Namespace, host: str, port: int) -> dict[str, object]:
    import ssl

    from aioapns.common import NotificationRequest, PushType
    from aioapns.connection import APNsKeyConnectionPool, APNsTLSClientProtocol

    class Protocol(APNsTLSClientProtocol):
        APNS_SERVER = host
        APNS_PORT = port

    context = ssl.create_default_context(cafile=args.ca)
    context.set_alpn_protocols(["h2"])
    pool = APNsKeyConnectionPool(
        new_key(), "KEY0000000", "TEAM000000", TOPIC, max_connections=args.connections, ssl_context=context
    )
    pool.protocol_class = Protocol
    message = json.loads(payload_of(args.payload))
    left = args.count

    async def worker() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            request = NotificationRequest(
                secrets.token_hex(32), message, str(uuid.uuid4()), priority=10, push_type=PushType.ALERT
            )
            answer = await pool.send_notification(request)
            assert answer.is_successful

    await pool.acquire()
    started, cpu = time.perf_counter(), cpu_seconds()
    await asyncio.gather(*(worker() for _ in range(100)))
    wall, cpu = time.perf_counter() - started, cpu_seconds() - cpu
    pool.close()
    return {"wall_per_s": args.count / wall, "cpu_per_s": args.count / cpu, "failed": 0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="https://localhost:8443")
    parser.add_argument("--ca", required=True)
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--batch", type=int, default=1_000)
    parser.add_argument("--flight", type=int, default=5_000, help="pushes per call of send")
    parser.add_argument("--payload", type=int, default=120, help="octets")
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--workers", type=int, default=4, help="calls of send at once")
    parser.add_argument("--stock", action="store_true", help="stock aioapns instead of ours")
    args = parser.parse_args()
    url = urlsplit(args.url)
    run = run_aioapns if args.stock else run_ours
    row = uvloop.run(run(args, url.hostname or "localhost", url.port or 443))
    row |= {"sender": "aioapns" if args.stock else "ours", "count": args.count, "batch": args.batch}
    row["peak_rss_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps(row))


if __name__ == "__main__":
    main()
