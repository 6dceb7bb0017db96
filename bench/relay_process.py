"""A real relay: `push-relay serve` with a settings file, as an operator runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import yaml

from bench import machine
from bench.machine import ROOT, SCRATCH
from bench.sink import await_port
from bench.work import HOST


def write_settings(
    path: Path,
    *,
    database: str,
    sink_port: int,
    ca: Path,
    port: int,
    sandbox_port: int = 0,
    more: dict[str, Any] | None = None,
) -> Path:
    """Write a settings file with this database and these ports of the sink, the rest as shipped. Returns `path`."""
    apns = {"host": HOST, "port": sink_port, "ca_file": str(ca)}
    sandbox = apns | ({"port": sandbox_port} if sandbox_port else {})
    settings: dict[str, Any] = {
        "http": {"port": port},
        "database": {"url": database},
        "keys": {"file": str(SCRATCH / "keys.yaml")},
        "apns": {"production": apns, "sandbox": sandbox},
        # The limits as shipped would refuse a caller such as a benchmark.
        "limits": {"pushes_per_second": 1_000_000, "burst": 1_000_000, "queued_batches": 1_000_000},
        "log": "warning",
    }
    path.write_text(yaml.safe_dump(settings | (more or {})))
    return path


class RelayProcess:
    """A running relay. A context manager, which ends it."""

    def __init__(self, settings: Path, options: Sequence[str] = (), name: str = "relay") -> None:
        port = int(yaml.safe_load(settings.read_text())["http"]["port"])
        log = SCRATCH / f"{name}.log"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "relay", "serve", "--config", str(settings), *options],
            stdout=log.open("wb"),
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=machine.environment(),
        )
        await_port(port, self._process, log, patience=120)
        self.port = port
        self.pid = self._process.pid

    def cpu_seconds(self) -> float:
        """Return the CPU seconds of all its processes."""
        return machine.cpu_seconds(self.pid)

    def peak_rss_mib(self) -> float:
        """Return the peak memory (MiB) of all its processes."""
        return machine.peak_rss_mib(self.pid)

    def __enter__(self) -> RelayProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def operator_token(settings: Path) -> str:
    """Migrate the database and return the first operator_ token."""
    done = subprocess.run(
        [sys.executable, "-m", "relay", "operator-token", "--config", str(settings)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=machine.environment(),
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"push-relay operator-token failed: {done.stderr[-2000:]}")
    return done.stdout.split()[-1]


class RefusedError(Exception):
    """An answer of the relay with an error status."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"{status}: {body[:500]}")
        self.status = status


class BenchApi:
    """The relay's API over one lasting connection."""

    def __init__(self, port: int) -> None:
        self._http = HTTPConnection("127.0.0.1", port, timeout=120)

    def call(
        self, method: str, path: str, token: str, body: Any = None, more: Mapping[str, str] | None = None
    ) -> Any:
        """Send `body` with `more` headers, bytes unchanged and others as JSON; return JSON. Raises RefusedError."""
        raw = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        headers |= more or {}
        self._http.request(method, path, raw, headers)
        response = self._http.getresponse()
        text = response.read().decode()
        if response.status >= 400:
            raise RefusedError(response.status, text)
        return json.loads(text) if text else None

    def close(self) -> None:
        """Close the connection."""
        self._http.close()
