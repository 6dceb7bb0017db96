"""The shutdown of a node, in the order that loses nothing, within ten seconds: then a supervisor kills.

1. Stop accepting requests, and commit what was accepted.
2. Wait for the pushes that are on their way to Apple, and return the remaining batches to the queue.
3. Close the connections, and remove the node from the table of nodes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

from aiohttp import web

from relay.node.startup import NodeParts
from relay.telemetry.logs import get_logger

_log = get_logger(__name__)
REQUEST_PATIENCE_SECONDS = 2.0
"""For requests that are being answered."""
_DISPATCH_PATIENCE_SECONDS = 6.0
"""For pushes and channel requests that are on their way to Apple."""
_WEBHOOK_PATIENCE_SECONDS = 3.0
"""For messages that are on their way to webhooks."""
_PART_PATIENCE_SECONDS = 0.9
"""For each other part."""


async def shut_down(parts: NodeParts, runner: web.AppRunner, tasks: Iterable[asyncio.Task[None]]) -> None:
    """Shut the node down. `runner` is its HTTP server, `tasks` are its loops."""
    await _stop_accepting(parts, runner)
    await _finish_dispatch(parts)
    await _close_connections(parts)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    if parts.context.traces.on:
        await asyncio.to_thread(parts.context.traces.close, _PART_PATIENCE_SECONDS)


async def _stop_accepting(parts: NodeParts, runner: web.AppRunner) -> None:
    parts.completion_waiter.close()
    await runner.cleanup()
    await _limit_time(parts.intake.aclose())


async def _finish_dispatch(parts: NodeParts) -> None:
    await asyncio.gather(
        parts.dispatchers.pushes.aclose(_DISPATCH_PATIENCE_SECONDS),
        parts.dispatchers.channels.aclose(_DISPATCH_PATIENCE_SECONDS),
        parts.dispatchers.webhooks.aclose(_WEBHOOK_PATIENCE_SECONDS),
    )
    await parts.webhook_receivers.aclose()
    parts.signals.announce_returned_work()


async def _close_connections(parts: NodeParts) -> None:
    await asyncio.gather(
        _limit_time(parts.signals.notifier.aclose()),
        _limit_time(parts.apple.channels.aclose()),
        _limit_time(parts.apple.sender.aclose()),
        _limit_time(parts.heartbeat.aclose()),
    )


async def _limit_time(closing: Coroutine[Any, Any, None]) -> None:
    try:
        async with asyncio.timeout(_PART_PATIENCE_SECONDS):
            await closing
    except TimeoutError:
        _log.warning("the end is not in order: something took too long")
