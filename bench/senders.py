"""The senders, ours and the peers', each a process that lives for the whole benchmark, so that runs can alternate.

Protocol: the set-up is a JSON argument. The process connects and prints {"ready": true}. For each line "run SECONDS" it
sends for that time, waits for the outstanding answers, and prints {"sent", "ok", "wall", "cpu"}: seconds by its own
clock with that wait, and user + system time by getrusage. Device tokens are made before the clock starts. h2load does
not speak the protocol: it takes a number of requests, computed from its last rate, and reports its own time.
"""

from __future__ import annotations

import json
import re
import resource
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bench import machine, work
from bench.machine import PEERS, ROOT, SCRATCH, MissingError, package_version, program
from bench.sink import Sink


@dataclass(frozen=True)
class SenderRun:
    """One run: pushes sent, pushes answered 200, and seconds of time and of the sender's CPU."""

    sent: int
    ok: int
    wall: float
    cpu: float


class BenchSender(Protocol):
    """A sender that is ready to run."""

    name: str
    version: str

    def run(self, seconds: float) -> SenderRun:
        """Send for `seconds`."""

    def stop(self) -> None:
        """End the process."""


class Process:
    """A sender that speaks the protocol."""

    def __init__(
        self, name: str, version: str, command: list[str], environment: dict[str, str] | None = None
    ) -> None:
        self.name = name
        self.version = version
        log = (SCRATCH / "senders.log").open("ab")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=ROOT,
            env={**machine.environment(), **(environment or {})},
            text=True,
        )
        self._read()

    def run(self, seconds: float) -> SenderRun:
        """Send for `seconds`."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"run {seconds}\n")
        self._process.stdin.flush()
        return SenderRun(**self._read())

    def stop(self) -> None:
        """Close its standard input, wait up to 3 s for its end, then kill it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(3)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended; see {SCRATCH / 'senders.log'}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def setup(sink: Sink, *, batch: int = 1000, connections: int = 1, **more: Any) -> str:
    """Return the argument of a sender's process, JSON."""
    key_file = SCRATCH / "AuthKey.p8"
    if not key_file.exists():
        work.write_p8(SCRATCH)
    fields = {
        "host": work.HOST,
        "port": sink.port,
        "ca": str(sink.ca),
        "key_file": str(key_file),
        "key_id": work.KEY_ID,
        "team_id": work.TEAM_ID,
        "topic": work.TOPIC,
        "payload": work.PAYLOAD.decode(),
        "pool": work.POOL_SIZE,
        "connections": connections,
    }
    return json.dumps(fields | more | ({"batch": batch} if "workers" not in more else {}))


def ours(sink: Sink, *, batch: int, connections: int = 1) -> BenchSender:
    """Start our sender with batches of `batch` pushes."""
    name = f"ours, batches of {batch:,}" if batch > 1 else "ours, each push its own batch"
    command = [sys.executable, "-m", "bench.peers.ours", setup(sink, batch=batch, connections=connections)]
    return Process(name, "this checkout", command)


def stock_aioapns(sink: Sink, *, connections: int = 1) -> BenchSender:
    """Start stock aioapns."""
    version = f"{package_version('aioapns')} (h2 {package_version('h2')}, uvloop {package_version('uvloop')})"
    argument = setup(sink, connections=connections)
    return Process("stock aioapns", version, [sys.executable, "-m", "bench.peers.stock_aioapns", argument])


def node(sink: Sink, *, connections: int = 1) -> BenchSender:
    """Start Node's client. Its packages are installed once into the scratch directory. Raises MissingError."""
    command, home = program("node"), SCRATCH / "node"
    pinned = (PEERS / "node" / "package-lock.json").read_text()
    if not (home / "installed").exists() or (home / "installed").read_text() != pinned:
        npm = program("npm")
        home.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(PEERS / "node" / name, home)
        _prepare([npm, "ci", "--no-audit", "--no-fund"], home, "npm ci")
        (home / "installed").write_text(pinned)
    package = json.loads((home / "node_modules/@parse/node-apn/package.json").read_text())
    version = f"{package['version']} (node {machine.version('node')})"
    environment = {"NODE_PATH": str(home / "node_modules"), "NODE_EXTRA_CA_CERTS": str(sink.ca)}
    script = str(PEERS / "node" / "send.js")
    return Process(
        "Node @parse/node-apn", version, [command, script, setup(sink, connections=connections)], environment
    )


def go(sink: Sink, *, connections: int = 1, workers: int = 1_000) -> BenchSender:
    """Start Go's client, built first if its sources changed. Raises MissingError."""
    binary = build_go("sender")
    mod = (PEERS / "go" / "go.mod").read_text()
    versions = {name: re.search(rf"{name} v(\S+)", mod) for name in ("sideshow/apns2", "golang.org/x/net")}
    apns2, net = (match[1] if match else "unknown" for match in versions.values())
    version = f"{apns2} (x/net {net}, go {machine.version('go')})"
    argument = setup(sink, connections=connections, workers=workers)
    name = "Go sideshow/apns2" if connections == 1 else f"Go sideshow/apns2, {connections} connections"
    return Process(name, version, [str(binary), argument])


def build_go(name: str) -> Path:
    """Build a program of bench/peers/go if its sources changed, and return the binary. Raises MissingError."""
    target = SCRATCH / f"go-{name}"
    sources = [*(PEERS / "go").glob("go.*"), *(PEERS / "go" / name).glob("*.go")]
    if not target.exists() or any(source.stat().st_mtime > target.stat().st_mtime for source in sources):
        _prepare([program("go"), "build", "-o", str(target), f"./{name}"], PEERS / "go", "go build")
    return target


def _prepare(command: list[str], directory: Path, name: str) -> None:
    print(f"preparing: {name} …", file=sys.stderr, flush=True)
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MissingError(f"{name} failed (it needs the network once): {done.stderr.strip()[-300:]}")


class H2load:
    """h2load, a program in C that sends one prepared request again and again: the limit of the sink."""

    def __init__(self, sink: Sink, connections: int) -> None:
        self.name = "h2load, the limit"
        self.version = f"{machine.version('h2load')}, {connections} connection{'s' * (connections > 1)}"
        body = SCRATCH / "payload.json"
        body.write_bytes(work.PAYLOAD)
        headers = {
            # As long as an ES256 JWT of Apple's form.
            "authorization": f"bearer {'x' * 190}",
            "apns-id": work.apns_ids(1)[0],
            "apns-topic": work.TOPIC,
            "apns-push-type": "alert",
            "apns-priority": "10",
        }
        self._command = [program("h2load"), "-m", "1000", "-c", str(connections), "-t", "1", "-d", str(body)]
        for header, value in headers.items():
            self._command += ["-H", f"{header}: {value}"]
        self._rate = 20_000.0
        self._url = f"https://{work.HOST}:{sink.port}/3/device/{work.device_tokens(1)[0]}"

    def run(self, seconds: float) -> SenderRun:
        """Send as many requests as take `seconds` at the rate of the last run."""
        count = max(1_000, int(self._rate * seconds))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [*self._command, "-n", str(count), self._url], capture_output=True, text=True, check=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        finished = re.search(r"finished in ([\d.]+)(us|ms|s|m),", done.stdout)
        ok = re.search(r"status codes: (\d+) 2xx", done.stdout)
        if finished is None or ok is None:
            raise RuntimeError(f"h2load said: {done.stdout[-500:]} {done.stderr[-500:]}")
        wall = float(finished[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}[finished[2]]
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        self._rate = count / wall
        return SenderRun(count, int(ok[1]), wall, cpu)

    def stop(self) -> None:
        """Do nothing: each run has ended its process."""
