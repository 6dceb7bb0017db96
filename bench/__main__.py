"""`python -m bench [--quick] [--json]`: one table, every row of the same run and the same sink."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from bench import machine, table
from bench.machine import SCRATCH
from bench.sender_rows import sender_rows
from bench.sink import Sink
from bench.table import Row


def main() -> None:
    """Run what was asked for and show it."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the sender rows only, within 50 s")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each row")
    parser.add_argument("--runs", type=int, default=5, help="runs of each row; the median counts")
    parser.add_argument("--seconds", type=float, help="length of a sender's run")
    arguments = parser.parse_args()
    SCRATCH.mkdir(parents=True, exist_ok=True)
    rows = []
    for row in _rows(arguments):
        rows.append(row)
        if arguments.json:
            print(row.json(), flush=True)
    if not arguments.json:
        table.show(rows, machine.describe())


def _rows(arguments: argparse.Namespace) -> Iterator[Row]:
    seconds = arguments.seconds or (0.7 if arguments.quick else 2.0)
    with Sink.start(SCRATCH / "sink") as sink:
        yield from sender_rows(sink, seconds=seconds, runs=arguments.runs)


if __name__ == "__main__":
    main()
