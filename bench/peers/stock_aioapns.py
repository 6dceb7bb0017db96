"""Stock aioapns, used as its documentation shows: one client, many `send_notification` at once, a bounded window."""

from __future__ import annotations

import asyncio
import json
import ssl
from pathlib import Path

from aioapns import APNs, NotificationRequest, PushType
from aioapns.connection import APNsTLSClientProtocol

from bench.peers.serving import Setup, TimedRun, Until, serve
from bench.work import apns_ids, device_tokens

_WINDOW_SIZE = 200
"""With more it is slower, and its count of free streams goes wrong (`apns.md`)."""


async def make(setup: Setup) -> TimedRun:
    """Return a run that sends pushes through `APNs.send_notification`."""

    class Protocol(APNsTLSClientProtocol):
        APNS_SERVER = setup.host
        APNS_PORT = setup.port
        # By default it closes its connection after 10 s without work, and then loses most of the next pushes.
        INACTIVITY_TIME = 3600

    context = ssl.create_default_context(cafile=setup.ca)
    context.set_alpn_protocols(["h2"])
    client = APNs(
        key=Path(setup.key_file).read_text(),
        key_id=setup.key_id,
        team_id=setup.team_id,
        topic=setup.topic,
        max_connections=setup.connections,
        ssl_context=context,
    )
    client.pool.protocol_class = Protocol
    tokens, ids = device_tokens(setup.pool), apns_ids(setup.pool)
    message = json.loads(setup.payload)

    async def run(until: Until) -> tuple[int, int]:
        sent = ok = 0

        async def work() -> None:
            nonlocal sent, ok
            while until:
                at = sent % setup.pool
                sent += 1
                request = NotificationRequest(
                    tokens[at], message, ids[at], priority=10, push_type=PushType.ALERT
                )
                result = await client.send_notification(request)
                ok += result.is_successful

        await asyncio.gather(*(work() for _ in range(_WINDOW_SIZE)))
        return sent, ok

    return run


if __name__ == "__main__":
    serve(make)
