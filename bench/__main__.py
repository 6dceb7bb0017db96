"""`python -m bench [--quick] [--json]`: one table, every row of the same run on the same sink.

The full run takes about fifteen minutes on two cores and, if it is told the date, writes bench/RESULTS.md. The first
run installs the peers (npm ci, go build): that needs the network and is not counted.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator

from bench import machine, results, table
from bench.machine import ROOT, SCRATCH
from bench.relay_rows import BenchPlan, relay_rows
from bench.sender_rows import sender_rows
from bench.sink import Sink
from bench.table import Row
from bench.targets import judge, show_targets
from bench.work import PAYLOAD


def main() -> None:
    """Run what was asked for, show it, and write it down."""
    arguments = _arguments()
    SCRATCH.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    lost = [machine.held_up()]
    try:
        for row in _rows(arguments):
            rows.append(row)
            if arguments.json:
                print(row.json(), flush=True)
            else:
                print(
                    f"  {row.row}: {row.cells[1]} per s, {row.cells[2]} per CPU-s",
                    file=sys.stderr,
                    flush=True,
                )
    finally:  # what was measured is shown, whatever became of the rest
        lost.append(machine.held_up())
        found = f"{machine.describe()}; of a core's time {lost[0]:.0%} before and {lost[1]:.0%} after was not ours"
        if not arguments.json:
            table.show(rows, found)
            if not arguments.quick:
                show_targets(judge(rows))
            print(", ".join(f"{name} {version}" for name, version in machine.versions().items()))
        if arguments.date:
            command = shlex.join(["python", "-m", "bench", *sys.argv[1:]])
            path = ROOT / "bench" / "RESULTS.md"
            results.write(
                path,
                rows,
                date=arguments.date,
                command=command,
                found=found,
                runs=arguments.runs,
                payload=len(PAYLOAD),
            )


def _rows(arguments: argparse.Namespace) -> Iterator[Row]:
    with Sink.start(SCRATCH / "sink") as sink:
        if "sender" in arguments.rows:
            seconds = arguments.seconds or (0.6 if arguments.quick else 2.0)
            yield from sender_rows(sink, seconds=seconds, runs=arguments.runs, quick=arguments.quick)
        wanted = frozenset(arguments.rows) - {"sender"}
        if wanted:
            yield from relay_rows(
                sink,
                BenchPlan(
                    arguments.sizes, arguments.runs, arguments.seconds or 5.0, arguments.workers, wanted
                ),
            )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the sender rows only, within 50 s")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each row")
    parser.add_argument("--rows", type=_words, default=("sender", *sorted(BenchPlan().rows)), metavar="A,B")
    parser.add_argument(
        "--sizes", type=_numbers, default=BenchPlan().sizes, metavar="N,M", help="devices of a fan-out"
    )
    parser.add_argument("--runs", type=int, default=5, help="runs of each row; the median counts")
    parser.add_argument("--seconds", type=float, help="length of a run")
    parser.add_argument("--workers", type=int, default=1, help="processes of the relay")
    parser.add_argument("--date", help="write bench/RESULTS.md under this date")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rows = ("sender",)
    unknown = set(arguments.rows) - {"sender"} - BenchPlan().rows
    if unknown:
        parser.error(f"there are no rows {', '.join(sorted(unknown))}")
    return arguments


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word.replace("_", "")) for word in text.split(","))


if __name__ == "__main__":
    main()
