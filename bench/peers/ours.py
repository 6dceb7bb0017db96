"""Our sender alone: `relay.apns.sender.ApnsSender`, with calls like the dispatcher's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

from bench.peers.serving import Setup, TimedRun, Until, serve
from bench.work import apns_ids, device_tokens
from relay.apns.pool import Endpoint
from relay.apns.sender import ApnsSender, SenderLimits
from relay.core.accounts import CredentialKind, Environment
from relay.core.delivery.sending import DELIVERED, Credential, SendBatch
from relay.core.ids import CredentialId
from relay.core.push.apns_headers import PushHeaders

_PUSHES_PER_CALL = 5_000
"""Pushes in one call of `send` if they come in large batches. Of single pushes a tenth."""
_CONCURRENT_CALLS = 3


async def make(setup: Setup) -> TimedRun:
    """Return a run that sends batches of `setup.batch` pushes."""
    sender = ApnsSender(
        dict.fromkeys(Environment, Endpoint(setup.host, setup.port, setup.ca)),
        limits=SenderLimits(connections_per_credential=setup.connections),
    )
    secret = Path(setup.key_file).read_text()
    credential = Credential(
        CredentialId(1), 1, setup.team_id, Environment.PRODUCTION, CredentialKind.TOKEN, setup.key_id, secret
    )
    tokens, ids = device_tokens(setup.pool), apns_ids(setup.pool)
    topics = [setup.topic] * setup.batch
    headers = PushHeaders("alert", 10)
    payload = setup.payload.encode()
    per_call = max(1, (_PUSHES_PER_CALL if setup.batch > 1 else _PUSHES_PER_CALL // 10) // setup.batch)

    def calls(until: Until) -> Iterator[list[SendBatch]]:
        starts = cycle(range(0, setup.pool - setup.batch + 1, setup.batch))
        while until:
            call: list[SendBatch] = []
            for at in islice(starts, per_call):
                # A slice is a new list, so no batch shares its tokens. A batch of one shares no headers either.
                batch_headers = headers if setup.batch > 1 else PushHeaders("alert", 10)
                stop = at + setup.batch
                call.append(SendBatch(payload, batch_headers, tokens[at:stop], ids[at:stop], topics))
            yield call

    async def run(until: Until) -> tuple[int, int]:
        shared = calls(until)
        sent = ok = 0

        async def work() -> None:
            nonlocal sent, ok
            for call in shared:
                await sender.send(credential, call)
                sent += sum(map(len, call))
                ok += sum(batch.answers.count(DELIVERED) for batch in call)

        await asyncio.gather(*(work() for _ in range(_CONCURRENT_CALLS)))
        return sent, ok

    return run


if __name__ == "__main__":
    serve(make)
