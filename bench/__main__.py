"""`python -m bench [--quick] [--json]`: one table, all rows from one run on one sink.

The full run takes about fifteen minutes on two cores. With `--date` it writes bench/RESULTS.md. The first run installs
the peers (npm ci, go build): that needs the network and is not counted.
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
from bench.targets import compare_with_targets, show_targets
from bench.work import PAYLOAD


def main() -> None:
    """Measure the rows that the options name, print them, and write RESULTS.md if a date is given."""
    arguments = _arguments()
    SCRATCH.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    foreign_shares = [machine.measure_foreign_share()]
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
    finally:  # rows that were measured are shown also after an error
        foreign_shares.append(machine.measure_foreign_share())
        before, after = foreign_shares
        description = (
            f"{machine.describe()}; of a core's time {before:.0%} before and {after:.0%} after was not ours"
        )
        if not arguments.json:
            table.show(rows, description)
            if not arguments.quick:
                show_targets(compare_with_targets(rows))
            print(", ".join(f"{name} {version}" for name, version in machine.versions().items()))
        if arguments.date:
            command = shlex.join(["python", "-m", "bench", *sys.argv[1:]])
            path = ROOT / "bench" / "RESULTS.md"
            results.write(
                path,
                rows,
                date=arguments.date,
                command=command,
                machine_text=description,
                runs=arguments.runs,
                payload=len(PAYLOAD),
            )


def _rows(arguments: argparse.Namespace) -> Iterator[Row]:
    with Sink.start(SCRATCH / "sink") as sink:
        if "sender" in arguments.rows:
            seconds = arguments.seconds or (0.6 if arguments.quick else 2.0)
            yield from sender_rows(sink, seconds=seconds, runs=arguments.runs, quick=arguments.quick)
        relay_row_names = frozenset(arguments.rows) - {"sender"}
        if relay_row_names:
            yield from relay_rows(
                sink,
                BenchPlan(
                    arguments.sizes,
                    arguments.runs,
                    arguments.seconds or 5.0,
                    arguments.workers,
                    relay_row_names,
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
