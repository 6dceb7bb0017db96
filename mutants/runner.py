"""The runner: each mutant is tried in a process of its own, by the tests that reach its lines.

A child process loads the mutated module from memory, so no file of the project is ever changed. A first run without
a fault notes which test reaches which line and how long each test takes. Lines that run at import are tried by all.
"""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.util
import os
import signal
import sys
import tempfile
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import NamedTuple

import coverage
import hypothesis
import msgspec
import pytest

from mutants.operators import Mutant

EXAMPLES = 40
"""Examples of each property: fewer than usual, as the tests run hundreds of times."""
SLACK_SECONDS = 30.0
SLOWER = 5.0
"""A mutant may take this many times as long as the tests do without it, and SLACK_SECONDS more."""
_PYTEST = (
    *("-x", "-q", "-p", "no:cacheprovider"),
    *("-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"),
)
_ALL = ""
"""The context of lines that run at import."""
_PRELOADED = (
    "aiohttp",
    "aioapns",
    "asyncpg",
    "cryptography.x509",
    "h2.connection",
    "itsdangerous",
    "structlog",
    "uvloop",
)


class MutantResult(NamedTuple):
    """A mutant and its end: "killed", "timeout" or "survived"."""

    mutant: Mutant
    end: str


@dataclass
class Baseline:
    """The run without a fault: tests by file and line, and seconds by test. The test "" stands for import."""

    tests: dict[str, dict[int, list[str]]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def tests_of(self, mutant: Mutant) -> list[str]:
        """Return the tests that reach the mutant, nearest first; none if no test does."""
        by_line = self.tests.get(mutant.path, {})
        reached = {test for line in range(mutant.line, mutant.end_line + 1) for test in by_line.get(line, ())}
        if _ALL not in reached:
            return sorted(reached, key=lambda test: self.seconds.get(test, 0.0))
        name = f"/test_{Path(mutant.path).name}::"
        return sorted(
            self.seconds,
            key=lambda test: (test not in reached, name not in test, self.seconds[test]),
        )


class _Plugin:
    """The plugin of a child's pytest: few examples of properties, only the given tests, and their durations."""

    def __init__(
        self, order: Mapping[str, int] | None = None, measured: coverage.Coverage | None = None
    ) -> None:
        self._order = order
        self._measured = measured
        self.seconds: dict[str, float] = defaultdict(float)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        hypothesis.settings.register_profile(
            "mutants",
            max_examples=EXAMPLES,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        hypothesis.settings.load_profile("mutants")

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if self._order is not None:
            order = self._order
            items[:] = sorted(
                (item for item in items if item.nodeid in order), key=lambda item: order[item.nodeid]
            )

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, nodeid: str) -> None:
        if self._measured is not None:
            self._measured.switch_context(nodeid)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, source: str) -> None:
        super().__init__(name, path)
        self._source = source

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._source, self.path, "exec")


class _Finder(importlib.abc.MetaPathFinder):
    """A finder of the mutated module in memory."""

    def __init__(self, mutant: Mutant) -> None:
        self._name = mutant.path.removesuffix(".py").replace("/", ".")
        self._path = str(Path(mutant.path).resolve())
        self._source = mutant.source

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        loader = _Loader(fullname, self._path, self._source)
        return importlib.util.spec_from_file_location(fullname, self._path, loader=loader)


def preload() -> None:
    """Import the large libraries once, for all children."""
    for name in _PRELOADED:
        importlib.import_module(name)


def measure(folder: str, tests: str) -> Baseline:
    """Run the tests without a fault. Raises SystemExit if they fail."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as directory:
        notes = Path(directory) / "notes"
        pid = _fork(Path(directory) / "log", lambda: _measure(folder, tests, notes))
        if _wait({pid: float("inf")})[1] != 0:
            print((Path(directory) / "log").read_text()[-4000:], file=sys.stderr)
            raise SystemExit(f"{tests} fails without a fault: repair that first.")
        return msgspec.json.decode(notes.read_bytes(), type=Baseline)


def _measure(folder: str, tests: str, notes: Path) -> int:
    measured = coverage.Coverage(data_file=None, include=[f"{Path(folder).resolve()}/*"], config_file=False)
    plugin = _Plugin(measured=measured)
    measured.start()
    status = pytest.main([*_PYTEST, tests], plugins=[plugin])
    measured.stop()
    data = measured.get_data()
    here = f"{Path.cwd()}/"
    by_file = {name.removeprefix(here): data.contexts_by_lineno(name) for name in data.measured_files()}
    notes.write_bytes(msgspec.json.encode(Baseline(by_file, dict(plugin.seconds))))
    return int(status)


def run(mutants: Sequence[Mutant], baseline: Baseline, jobs: int) -> Iterator[MutantResult]:
    """Try mutants, `jobs` at a time; yield each with its end."""
    running: dict[int, Mutant] = {}
    deadlines: dict[int, float] = {}
    with tempfile.TemporaryDirectory(prefix="mutants-") as directory:
        log = Path(directory) / "log"
        try:
            for mutant in mutants:
                tests = baseline.tests_of(mutant)
                if not tests:
                    yield MutantResult(mutant, "survived")
                    continue
                if len(running) >= jobs:
                    yield _next_result(running, deadlines)
                seconds = sum(baseline.seconds.get(test, 0.0) for test in tests)
                pid = _fork(log, lambda mutant=mutant, tests=tests: _try(mutant, tests))  # type: ignore[misc]
                running[pid] = mutant
                deadlines[pid] = time.monotonic() + SLACK_SECONDS + SLOWER * seconds
            while running:
                yield _next_result(running, deadlines)
        finally:
            for pid in running:
                _kill(pid)


def _next_result(running: dict[int, Mutant], deadlines: dict[int, float]) -> MutantResult:
    pid, status = _wait(deadlines)
    del deadlines[pid]
    ends = {0: "survived", None: "timeout"}
    return MutantResult(running.pop(pid), ends.get(status, "killed"))


def _try(mutant: Mutant, tests: Sequence[str]) -> int:
    sys.meta_path.insert(0, _Finder(mutant))
    files = dict.fromkeys(test.partition("::")[0] for test in tests)
    plugin = _Plugin({test: index for index, test in enumerate(tests)})
    return int(pytest.main([*_PYTEST, *files], plugins=[plugin]))


def _fork(log: Path, work: Callable[[], int]) -> int:
    """Start `work()` in a child that is the leader of its session; its result is the exit status."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    status = 70
    try:
        os.setsid()
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(out, 1)
        os.dup2(out, 2)
        status = work()
    except BaseException:  # printed to the log: the child has no caller
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _wait(deadlines: Mapping[int, float]) -> tuple[int, int | None]:
    """Wait for a child; return it and its exit status, None if it was too slow."""
    while True:
        for pid, deadline in deadlines.items():
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)  # processes that it may have left behind
                return pid, os.waitstatus_to_exitcode(status)
            if time.monotonic() > deadline:
                _kill(pid)
                return pid, None
        time.sleep(0.02)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)
