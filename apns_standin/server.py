"""The stand-in as a program: serve until cancelled, and say where."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

from .limits import StandInLimits
from .stand_in import ApnsStandIn

DEFAULT_PRODUCTION_PORT = 2197  # Apple's alternative port
DEFAULT_SANDBOX_PORT = 2198
DEFAULT_PRODUCTION_CHANNELS_PORT = 2196  # Apple's, as the next
DEFAULT_SANDBOX_CHANNELS_PORT = 2195
DEFAULT_CONTROL_PORT = 2199


async def run(
    host: str = "127.0.0.1",
    *,
    production_port: int = DEFAULT_PRODUCTION_PORT,
    sandbox_port: int = DEFAULT_SANDBOX_PORT,
    production_channels_port: int = DEFAULT_PRODUCTION_CHANNELS_PORT,
    sandbox_channels_port: int = DEFAULT_SANDBOX_CHANNELS_PORT,
    control_port: int = DEFAULT_CONTROL_PORT,
    fallback_to_free_port: bool = False,
    state_file: Path | None = None,
    ca_file: Path | None = None,
    limits: StandInLimits | None = None,
    kept_receipts: int = 0,
    chance: random.Random | None = None,
    announce: Callable[[str], None] = print,
    started: Callable[[ApnsStandIn], None] | None = None,
) -> None:
    """Serve until cancelled. `announce` gets the lines that say where; `started` the running stand-in.

    Raises OSError for a port that is taken, StateFileError.
    """
    async with ApnsStandIn(
        host,
        production_port=production_port,
        sandbox_port=sandbox_port,
        production_channels_port=production_channels_port,
        sandbox_channels_port=sandbox_channels_port,
        control_port=control_port,
        fallback_to_free_port=fallback_to_free_port,
        state_file=state_file,
        ca_file=ca_file,
        limits=limits,
        kept_receipts=kept_receipts,
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
