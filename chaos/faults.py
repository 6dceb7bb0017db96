"""The schedule: each fault lasts a while, one after another; nodes are killed meanwhile; recovery is measured."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from apns_standin import ListenerFault
from apns_standin.faults import LISTENER_KINDS
from apns_standin.registry import ENVIRONMENTS
from chaos.cluster import LEASE_SECONDS, Cluster, Node
from chaos.load import Load

FAULTS = (
    ListenerFault("goaway", share=0.02),
    ListenerFault("goaway_unprocessed", share=0.02),
    ListenerFault("refused_stream", share=0.3),
    ListenerFault("cancel", share=0.2),
    ListenerFault("internal_error", share=0.2),
    ListenerFault("no_error", share=0.5),
    ListenerFault("one_stream"),
    ListenerFault("tcp_reset", share=0.01),
    ListenerFault("stall", share=0.01),
    ListenerFault("slow", share=0.3, seconds=1.0),
    ListenerFault("no_body", share=0.5),
    ListenerFault("html", share=0.5),
    ListenerFault("split_body", share=0.5),
    ListenerFault("too_many_requests", share=0.8),
    ListenerFault("internal_server_error", share=0.8),
    ListenerFault("service_unavailable", share=0.8),
    ListenerFault("expired_provider_token", share=0.2),
    ListenerFault("invalid_provider_token", share=0.2),
    ListenerFault("unregistered_before", share=0.3),
    ListenerFault("unregistered_now", share=0.1),
    ListenerFault("tls_failure"),
    ListenerFault("connection_refused"),
)
POSTGRES_RESTARTED, POSTGRES_KILLED, NODE_KILLED = "postgres_restarted", "postgres_killed", "node_killed"
_POLL_SECONDS = 0.05
_STRIKE_PATIENCE_SECONDS = 30.0
"""Time for a fault to strike a push, once it strikes every request."""


@dataclass
class Recovery:
    """The number of times a fault was played, and the longest time (seconds) from its end to the next delivery.

    `seconds` is None if no delivery came.
    """

    played: int = 0
    seconds: float | None = 0.0

    def note(self, seconds: float | None) -> None:
        """Count another play of the fault and its seconds to the next delivery, None if there was none."""
        self.played += 1
        self.seconds = None if seconds is None or self.seconds is None else max(self.seconds, seconds)


class Schedule:
    """A schedule of faults and kills on a cluster under load. `say` gets lines of progress.

    `hold`: seconds each fault lasts. `patience`: seconds for the next delivery.
    """

    def __init__(
        self,
        cluster: Cluster,
        load: Load,
        chance: random.Random,
        say: Callable[[str], None],
        *,
        hold: float,
        patience: float = 90.0,
    ) -> None:
        self.recoveries: dict[str, Recovery] = {}
        self.long_outages = 0
        """Times that PostgreSQL was away long enough for nodes to lose their leases."""
        self._say = say
        self._cluster = cluster
        self._load = load
        self._chance = chance
        self._hold = hold
        self._patience = patience

    async def play_round(self) -> None:
        """Play each fault once, in a random order."""
        plays: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            (fault.kind, partial(self._play_fault, fault)) for fault in FAULTS
        ]
        plays.append((POSTGRES_RESTARTED, partial(self._away, self._cluster.postgres.shut_down)))
        plays.append((POSTGRES_KILLED, partial(self._away, self._cluster.postgres.kill)))
        self._chance.shuffle(plays)
        for name, play in plays:
            await play()
            await self._recover(name)

    async def kill_nodes(self, times: int, interval: float) -> None:
        """Kill a random node `times` times, about every `interval` seconds. Only a ready node is killed."""
        for _ in range(times):
            await asyncio.sleep(interval * self._chance.uniform(0.5, 1.5))
            await self._kill_node()

    async def _kill_node(self) -> None:
        while (victim := await self._ready_node()) is None:
            await asyncio.sleep(_POLL_SECONDS)
        victim.kill()
        await self._recover(NODE_KILLED)

    async def _ready_node(self) -> Node | None:
        node = self._chance.choice(self._cluster.nodes)
        return node if await self._cluster.is_ready(node) else None

    async def _play_fault(self, fault: ListenerFault) -> None:
        apns = self._cluster.apns
        self._load.paused_operator = fault.kind == "invalid_provider_token"
        before = await self._struck(fault)
        for environment in ENVIRONMENTS:
            await apns.set_fault(fault, environment)
        await asyncio.sleep(self._hold)
        if fault.kind not in LISTENER_KINDS and await self._struck(fault) == before:
            await self._make_it_strike(fault, before)
        for environment in ENVIRONMENTS:
            await apns.clear_faults(environment)
        self._load.paused_operator = False

    async def _make_it_strike(self, fault: ListenerFault, before: int) -> None:
        """Strike every request until one is struck: with few pushes a share of them may be none."""
        for environment in ENVIRONMENTS:
            await self._cluster.apns.set_fault(ListenerFault(fault.kind), environment)
        deadline = asyncio.get_running_loop().time() + _STRIKE_PATIENCE_SECONDS
        while await self._struck(fault) == before and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(_POLL_SECONDS)

    async def _struck(self, fault: ListenerFault) -> int:
        return (await self._cluster.apns.statistics())["faults"].get(fault.kind, 0)

    async def _away(self, end: Callable[[], Awaitable[None]]) -> None:
        now = asyncio.get_running_loop().time
        began = now()
        await end()
        await asyncio.sleep(min(self._hold, LEASE_SECONDS / 2))
        await asyncio.to_thread(self._cluster.postgres.start)
        self.long_outages += now() - began > LEASE_SECONDS / 2

    async def _recover(self, name: str) -> None:
        """Wait for the next delivery."""
        now = asyncio.get_running_loop().time
        began, seconds = now(), None
        before = (await self._cluster.apns.statistics())["accepted"]
        while now() - began < self._patience:
            if (await self._cluster.apns.statistics())["accepted"] > before:
                seconds = round(now() - began, 2)
                break
            await asyncio.sleep(_POLL_SECONDS)
        self.recoveries.setdefault(name, Recovery()).note(seconds)
        self._say(f"  {name}: {'no delivery' if seconds is None else f'delivers after {seconds} s'}")
