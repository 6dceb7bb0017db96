"""RESULTS.md: figures of the full run, its machine and versions, and the targets that they reach."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench import machine, table
from bench.table import Row
from bench.targets import compare_with_targets

_TEXT = """# What the benchmarks measured

{date}, `{command}`

Machine: {machine}. PostgreSQL, sink, load generator and what is measured share its cores.

Versions: {versions}.

{table}

## The figures to reach

| target | measured | |
|---|---:|---|
{targets}

## How it is measured

- Every row of a table comes from one run of the command. Medians of {runs} runs each; the runs of a group
  alternate.
- All senders send to the same sink: nginx, TLS 1.3, two workers, `return 200`, the `apns-id` sent back as
  Apple does. Each has one connection (h2load: 1, 2 or 4, whichever serves it best), the same payload of
  {payload} bytes, token authentication and TLS verification. nginx's count proves that every push arrived.
- "Not ours": an empty loop in pieces of a millisecond, each against the fastest. Where it is much above 5 %, the
  figures of a second are that much too low, and so are those of a CPU-second, because the kernel does not see it;
  ratios of medians hold.
- Per CPU-second: pushes by the sender's own user and system time; for the whole relay by that of all its
  processes, PostgreSQL not included (its own time stands beside).
- Device tokens and, for ours and aioapns, apns-ids are made before the clock runs; requests, JWT and
  everything else by the sender while it runs.
- The whole relay is `push-relay serve` with its settings as shipped. PostgreSQL is the embedded one, with
  fsync and synchronous commit on. The devices were put into the database directly, each with a topic
  of its own. A fan-out counts from the POST's first byte to state "done": then every device is in the
  ledger as delivered, and arrived.
- Single-destination sends: wrk, 64 connections, until the last push is in the ledger. Latency: a Go program
  posts at half that rate (Poisson, 64 connections) and is the sink; if the relay answers late, the wait
  counts.
"""
_WORDS = {True: "reached", False: "**not reached**", None: "–"}


def write(
    path: Path, rows: Sequence[Row], *, date: str, command: str, machine_text: str, runs: int, payload: int
) -> None:
    """Write RESULTS.md to `path`. `machine_text` describes the machine, `payload` is the payload's size in bytes."""
    targets = [
        f"| {verdict.target} | {verdict.measured} | {_WORDS[verdict.reached]} |"
        for verdict in compare_with_targets(rows)
    ]
    path.write_text(
        _TEXT.format(
            date=date,
            command=command,
            machine=machine_text,
            versions=", ".join(f"{name} {version}" for name, version in machine.versions().items()),
            table=table.markdown(rows),
            targets="\n".join(targets),
            runs=runs,
            payload=payload,
        )
    )
