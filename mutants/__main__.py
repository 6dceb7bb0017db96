"""python -m mutants: try a seeded sample of mutants of relay/core and relay/apns against their own tests.

Prints the survivors with their place and difference, and one line of JSON. The exit status is 1 if fewer than
`--floor` percent of the mutants that are not equivalent were killed.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import json
import os
import random
import sys
import time
import tomllib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from mutants.operators import Mutant, mutate
from mutants.runner import MutantResult, measure, preload, run

SUITES = {"relay/core": "tests/core", "relay/apns": "tests/apns"}
EXCLUDED = {"relay/apns/pool.py", "relay/apns/sender.py"}
EQUIVALENT = Path(__file__).with_name("equivalent.toml")


def main() -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="mutants", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the sample is a function of it (1)")
    parser.add_argument("--sample", type=int, default=300, help="mutants to try; 0: all (300)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at a time")
    parser.add_argument("--floor", type=float, default=92.0, help="percent that must be killed (92)")
    parser.add_argument(
        "paths", nargs="*", default=list(SUITES), help="folders or files (relay/core relay/apns)"
    )
    options = parser.parse_args()
    began = time.monotonic()
    mutants = [
        mutant for path in _modules(options.paths) for mutant in mutate(path, Path(path).read_text("utf-8"))
    ]
    random.Random(options.seed).shuffle(mutants)  # noqa: S311  no secret
    mutants = list(islice(filter(_is_valid, mutants), options.sample or None))
    results = list(_results(mutants, options.jobs))
    equivalent = _equivalent()
    survived = [result.mutant for result in results if result.end == "survived"]
    known = [mutant for mutant in survived if _key(mutant) in equivalent]
    for mutant in survived:
        print(f"\n{mutant.path}:{mutant.line} {mutant.operator}: survived", end="")
        print(f" (equivalent: {equivalent[_key(mutant)]})" if mutant in known else "")
        print("".join(_difference(mutant)), end="")
    counted = len(results) - len(known)
    killed = len(results) - len(survived)
    percent = 100.0 * killed / counted if counted else 100.0
    summary = {
        "seed": options.seed,
        "sample": len(results),
        "killed": killed,
        "timeouts": sum(result.end == "timeout" for result in results),
        "survived": len(survived) - len(known),
        "equivalent": len(known),
        "percent": round(percent, 1),
        "seconds": round(time.monotonic() - began),
    }
    print(json.dumps(summary))
    return int(percent < options.floor)


def _is_valid(mutant: Mutant) -> bool:
    try:
        ast.parse(mutant.source)
    except SyntaxError:
        return False
    return True


def _modules(paths: list[str]) -> list[str]:
    files = {
        str(file)
        for path in map(Path, paths)
        for file in ([path] if path.suffix == ".py" else path.rglob("*.py"))
    }
    return sorted(files - EXCLUDED)


def _results(mutants: list[Mutant], jobs: int) -> Iterator[MutantResult]:
    preload()
    for folder, tests in SUITES.items():
        ours = sorted(mutant for mutant in mutants if mutant.path.startswith(f"{folder}/"))
        if not ours:
            continue
        print(f"{tests} runs without a fault", file=sys.stderr)
        baseline = measure(folder, tests)
        for count, result in enumerate(run(ours, baseline, jobs), 1):
            place = f"{result.mutant.path}:{result.mutant.line} {result.mutant.operator}"
            print(f"{count}/{len(ours)} {result.end} {place}", file=sys.stderr)
            yield result


def _difference(mutant: Mutant) -> list[str]:
    before = Path(mutant.path).read_text("utf-8").splitlines(keepends=True)
    after = mutant.source.splitlines(keepends=True)
    return list(difflib.unified_diff(before, after, n=0))[3:]


def _key(mutant: Mutant) -> tuple[str, str]:
    changed = (line[0] + line[1:].strip() for line in _difference(mutant))
    return mutant.path, " ".join(changed)


def _equivalent() -> dict[tuple[str, str], str]:
    """Return the reasons of known equivalent mutants, by path and difference."""
    rows = tomllib.loads(EQUIVALENT.read_text("utf-8")).get("mutant", [])
    return {(row["path"], row["difference"]): row["reason"] for row in rows}


if __name__ == "__main__":
    sys.exit(main())
