"""The stand-in as a program: it serves until it is cancelled, and announces its addresses."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

from .limits import RetentionLimits, StandInLimits
from .ports import DEFAULT_PORTS, StandInPorts
from .stand_in import ApnsStandIn


async def run(
    host: str = "127.0.0.1",
    *,
    ports: StandInPorts = DEFAULT_PORTS,
    state_file: Path | None = None,
    ca_file: Path | None = None,
    limits: StandInLimits | None = None,
    retention: RetentionLimits | None = None,
    chance: random.Random | None = None,
    announce: Callable[[str], None] = print,
    started: Callable[[ApnsStandIn], None] | None = None,
) -> None:
    """Serve until cancelled; the arguments are those of `ApnsStandIn`.

    `announce` is called with each line that names an address, `started` with the running stand-in.

    Raises:
        OSError: a port is taken.
        StateFileError: the state file is unreadable.
    """
    async with ApnsStandIn(
        host,
        ports=ports,
        state_file=state_file,
        ca_file=ca_file,
        limits=limits,
        retention=retention,
        chance=chance,
    ) as stand_in:
        announce(f"APNs production  {stand_in.production_url}")
        announce(f"APNs sandbox     {stand_in.sandbox_url}")
        announce(f"channels         {stand_in.channels_url('production')}")
        announce(f"channels sandbox {stand_in.channels_url('sandbox')}")
        announce(f"control API      {stand_in.control_url}")
        announce(f"CA certificate   {ca_file if ca_file is not None else '(not written; see --ca-file)'}")
        if started is not None:
            started(stand_in)
        await asyncio.Event().wait()
