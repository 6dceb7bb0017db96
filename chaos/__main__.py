"""`python -m chaos`: a run and its figures, as JSON in the last line. Exit status 1: a promise was broken."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from chaos.run import ChaosPlan, Report, plan_of, run


def main() -> int:
    """Play a run, print its report, and return the exit status."""
    parser = argparse.ArgumentParser(
        "python -m chaos", description="Nodes are killed, all else fails: nothing is lost."
    )
    parser.add_argument("--minutes", type=float, default=3.0, help="how long faults are played")
    parser.add_argument("--seed", type=int, help="the same seed plays the same faults in the same order")
    parser.add_argument("--fan-out", type=int, default=50_000, help="destinations of a large push")
    parser.add_argument("--json", action="store_true", help="the last line only")
    parser.add_argument("--keep", action="store_true", help="keep the files of the run: logs, data")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.randrange(2**31)
    directory = Path(tempfile.mkdtemp(prefix="push-relay-chaos-"))

    def say(line: str) -> None:
        if not options.json:
            print(line, flush=True)

    say(f"seed {seed}, files in {directory}")
    try:
        plan = plan_of(options.minutes, seed, options.fan_out)
        report = asyncio.run(_until_terminated(plan, directory, say))
    except asyncio.CancelledError:
        return 130
    finally:
        if not options.keep:
            shutil.rmtree(directory, ignore_errors=True)
    say(_text(report))
    print(json.dumps(report.as_json()))
    return 1 if report.broken else 0


async def _until_terminated(plan: ChaosPlan, directory: Path, say: Callable[[str], None]) -> Report:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await run(plan, directory / "run", say)


def _text(report: Report) -> str:
    verdict = report.verdict
    lines = ["", f"{'time to recover':<28}{'played':>8}{'seconds':>10}"]
    for name, recovery in sorted(report.recoveries.items()):
        seconds = "never" if recovery.seconds is None else recovery.seconds
        lines.append(f"  {name:<26}{recovery.played:>8}{seconds:>10}")
    lines.append("")
    figures = {
        "pushes accepted": verdict.pushes,
        "accepted": verdict.accepted,
        "delivered": verdict.delivered,
        "unregistered": verdict.unregistered,
        "retried": verdict.retried,
        "expired": verdict.expired,
        "failed": verdict.failed,
        "cancelled": verdict.cancelled,
        "LOST": verdict.lost,
        "duplicates": f"{verdict.duplicates} (at most {verdict.explained})",
        "wrongly retired tokens": verdict.wrongly_retired,
        "dead tokens kept": verdict.kept_dead,
        "stuck rows": verdict.stuck,
        "nodes killed": report.node_kills,
        "answers to sends": ", ".join(
            f"{status or 'none'}: {count}" for status, count in sorted(report.answers.items())
        ),
        "copies": ", ".join(f"{count} {change}" for change, count in sorted(report.changes.items())),
        "credentials resumed": report.resumed,
        "seconds in all": report.seconds,
    }
    lines += [f"{name:<28}{value}" for name, value in figures.items()]
    lines += ["", *(f"BROKEN: {promise}" for promise in report.broken or ["nothing"])]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
