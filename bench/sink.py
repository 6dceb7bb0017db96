"""The sink: an HTTP/2 server of others that answers 200 to every request and counts them.

It is nginx if that is installed, else nghttpd (which cannot count). A new authority issues its TLS certificate.
"""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import trustme

from bench import machine
from bench.work import HOST

_NGINX = """
daemon off;
worker_processes {workers};
worker_rlimit_nofile 4096;
pid {directory}/nginx.pid;
error_log {directory}/error.log warn;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  ssl_certificate {directory}/server.pem;
  ssl_certificate_key {directory}/server.key;
  ssl_protocols TLSv1.3;
  http2_max_concurrent_streams 1000;
  keepalive_requests 1000000000;
  keepalive_timeout 1d;
  keepalive_time 1d;
  server {{
    listen 127.0.0.1:{port} ssl http2;
    location / {{
      add_header apns-id $http_apns_id;  # as Apple does; aioapns waits for ever without it
      return 200;
    }}
  }}
  server {{
    listen 127.0.0.1:{throttling_port} ssl http2;
    location / {{
      add_header apns-id $http_apns_id always;
      if ($http_apns_topic ~ throttled) {{ return 429 '{{"reason": "TooManyRequests"}}'; }}
      return 200;
    }}
  }}
  server {{
    listen 127.0.0.1:{status_port};
    location / {{ stub_status; }}
  }}
}}
"""


class Sink:
    """A running sink. A context manager, which ends it: `with Sink.start(directory) as sink`."""

    def __init__(
        self,
        name: str,
        process: subprocess.Popen[bytes],
        port: int,
        ca: Path,
        status_port: int,
        throttling_port: int,
    ) -> None:
        self.name = name
        self.port = port
        self.throttling_port = throttling_port
        """The port at which pushes to topics with "throttled" in them get 429; 0 if this sink has none."""
        self.ca = ca
        self._process = process
        self._status_port = status_port
        self._own_requests = 0

    @classmethod
    def start(cls, directory: Path, workers: int = 2) -> Sink:
        """Start nginx, or else nghttpd, with its files in `directory`. Raises MissingError if both are missing."""
        directory.mkdir(parents=True, exist_ok=True)
        ca = make_certificates(directory)
        port, status_port, throttling_port = (machine.free_port() for _ in range(3))
        try:
            command = [machine.program("nginx"), "-p", str(directory), "-c", str(directory / "nginx.conf")]
            name = "nginx"
        except machine.MissingError:
            command = [
                machine.program("nghttpd"),
                "-n",
                str(workers),
                "-m",
                "1000",
                "--echo-upload",
                str(port),
            ]
            command += [str(directory / "server.key"), str(directory / "server.pem")]
            name, status_port, throttling_port = "nghttpd", 0, 0
        settings = _NGINX.format(
            workers=workers,
            directory=directory,
            port=port,
            status_port=status_port,
            throttling_port=throttling_port,
        )
        (directory / "nginx.conf").write_text(settings)
        log = (directory / "sink.log").open("wb")
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        await_port(port, process, directory / "sink.log")
        return cls(name, process, port, ca, status_port, throttling_port)

    def arrivals(self) -> int | None:
        """Return the requests so far without those of this method, or None if this sink does not count."""
        if not self._status_port:
            return None
        self._own_requests += 1
        with urllib.request.urlopen(f"http://127.0.0.1:{self._status_port}/") as response:
            text = response.read().decode()
        counts = re.search(r"\n\s*\d+ \d+ (\d+)", text)
        assert counts is not None, text
        return int(counts[1]) - self._own_requests

    def __enter__(self) -> Sink:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)


def make_certificates(directory: Path) -> Path:
    """Write an authority and its certificate for localhost, and return the authority's file."""
    authority = trustme.CA()
    server = authority.issue_cert(HOST, "127.0.0.1")
    ca = directory / "ca.pem"
    authority.cert_pem.write_to_path(ca)
    server.private_key_pem.write_to_path(directory / "server.key")
    (directory / "server.pem").write_bytes(b"".join(blob.bytes() for blob in server.cert_chain_pems))
    return ca


def await_port(port: int, process: subprocess.Popen[bytes], log: Path, patience: float = 30.0) -> None:
    """Wait until the port accepts connections. Raises RuntimeError with the end of the log if it does not."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    process.kill()
    raise RuntimeError(f"{process.args!r} does not listen:\n{log.read_text()[-2000:]}")
