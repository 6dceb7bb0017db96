"""The rows of senders alone: ours, stock aioapns, Node's, Go's, and h2load as the limit, in alternating runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial

from bench import senders, table
from bench.machine import MissingError
from bench.senders import BenchSender, H2load, SenderRun
from bench.sink import Sink
from bench.table import Row

_WARM_UP_SECONDS = 0.2
"""Length of the first run, which connects and is not counted."""


def sender_rows(sink: Sink, *, seconds: float, runs: int, quick: bool = False) -> Iterator[Row]:
    """Yield a row for each sender: medians of `runs` runs of about `seconds` each, alternating, on one sink."""
    makers: list[tuple[str, Callable[[], BenchSender]]] = [
        ("ours, batches of 1,000", partial(senders.ours, sink, batch=1000)),
        ("ours, each push its own batch", partial(senders.ours, sink, batch=1)),
        ("stock aioapns", partial(senders.stock_aioapns, sink)),
        ("Node @parse/node-apn", partial(senders.node, sink)),
        ("Go sideshow/apns2", partial(senders.go, sink)),
        # The relay has up to two connections a credential: the better of both rows is the one to compare with.
        *([] if quick else [("Go sideshow/apns2, 2 connections", partial(senders.go, sink, connections=2))]),
        ("h2load, the limit", partial(_best_h2load, sink, seconds)),
    ]
    ready: list[BenchSender] = []
    absent: list[Row] = []
    failed: dict[str, str] = {}
    try:
        for name, make in makers:
            try:
                sender = make()
            except MissingError as error:
                absent.append(table.missing(name, error))
                continue
            ready.append(sender)
            sender.run(_WARM_UP_SECONDS)
        runs_by_name: dict[str, list[SenderRun]] = {sender.name: [] for sender in ready}
        for number in range(runs):
            for sender in [sender for sender in ready if sender.name not in failed]:
                print(
                    f"\r\x1b[Krun {number + 1} of {runs}: {sender.name}", end="", file=sys.stderr, flush=True
                )
                try:
                    runs_by_name[sender.name].append(_run_and_check(sink, sender, seconds))
                except RuntimeError as error:  # the other senders are still measured
                    failed[sender.name] = str(error)
        print("\r\x1b[K", end="", file=sys.stderr)
    finally:
        for sender in ready:
            sender.stop()
    for sender in ready:
        if sender.name in failed:
            yield Row(sender.name, note=failed[sender.name])
            continue
        sender_runs = runs_by_name[sender.name]
        walls, cpus = [run.ok / run.wall for run in sender_runs], [run.ok / run.cpu for run in sender_runs]
        yield table.measured(sender.name, walls, cpus, version=sender.version)
    yield from absent


def _run_and_check(sink: Sink, sender: BenchSender, seconds: float) -> SenderRun:
    """Return a run. Raises RuntimeError unless every push was answered 200 and has arrived."""
    before = sink.arrivals()
    run = sender.run(seconds)
    after = sink.arrivals()
    if run.ok != run.sent:
        raise RuntimeError(f"{sender.name}: {run.ok} of {run.sent} pushes were answered 200")
    if before is not None and after is not None and after - before != run.sent:
        raise RuntimeError(f"{sender.name}: {after - before} arrived of {run.sent}")
    return run


def _best_h2load(sink: Sink, seconds: float) -> BenchSender:
    """Return h2load with the number of connections at which it is fastest here. Raises MissingError."""
    best, best_rate = H2load(sink, 1), 0.0
    for connections in (1, 2, 4):
        candidate = H2load(sink, connections)
        candidate.run(_WARM_UP_SECONDS)
        run = candidate.run(seconds / 2)
        if run.ok / run.wall > best_rate:
            best, best_rate = candidate, run.ok / run.wall
    return best
