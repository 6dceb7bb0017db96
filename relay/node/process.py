"""The process of a node: its signals and its garbage collector."""

from __future__ import annotations

import asyncio
import gc
import signal


def catch_stop_signals() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    return stopped


def tune_garbage_collector() -> None:
    """Exempt the objects that exist now from Python's cyclic collector, and let it run seldom.

    Hardly any object of the relay is in a cycle. With its defaults the collector takes a tenth of the CPU and stops the
    process for 0.1 s at a time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 100)
