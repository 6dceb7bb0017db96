"""The files of a deployment: their settings exist, and their times and sizes fit the relay's."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from relay.cli.settings_reference import settings
from relay.node import workers
from relay.service import waiting
from relay.settings import HttpSettings, load

ROOT = Path(__file__).parents[1]
FILES = ("Dockerfile", "compose.yaml", "config/push-relay.service")
COMMAND_LINE_VARIABLES = {"PUSH_RELAY_CONFIG", "PUSH_RELAY_URL", "PUSH_RELAY_TOKEN"}


@pytest.mark.parametrize("name", [*FILES, "README.md", "docs/operating.md"])
def test_the_variables_are_those_of_settings(name: str) -> None:
    known = {setting.variable for setting in settings()} | COMMAND_LINE_VARIABLES
    named = set(re.findall(r"PUSH_RELAY_[A-Z_]*[A-Z]", (ROOT / name).read_text("utf-8")))
    assert named <= known


def test_the_nodes_of_compose_have_settings_that_can_be_read() -> None:
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
    nodes = [service for name, service in compose["services"].items() if name.startswith("relay-")]
    assert len(nodes) == 2
    # As compose replaces ${POSTGRES_PASSWORD:?…}.
    environ = {name: re.sub(r"\$\{[^}]*\}", "x", value) for name, value in nodes[0]["environment"].items()}
    read = load(None, environ)
    assert read.database.url == "postgresql://relay:x@postgres/relay"
    nginx = compose["services"]["nginx"]["networks"]["relay"]["ipv4_address"]
    assert f"{nginx}/32" in environ["PUSH_RELAY_HTTP__TRUSTED_PROXIES"]
    for name in nodes[0]["depends_on"] | nodes[1]["depends_on"]:
        assert name in compose["services"]
    upstream = (ROOT / "config" / "nginx.conf").read_text("utf-8")
    assert {f"relay-{n}:8080" for n in (1, 2)} == set(re.findall(r"server (relay-[^;]*);", upstream))


def test_files_that_the_image_copies_are_not_ignored() -> None:
    copied = {
        word
        for line in re.findall(
            r"^COPY (?!--from)(.*) \S+$", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE
        )
        for word in line.split()
    }
    not_ignored = {
        line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line[0] == "!"
    }
    assert copied == not_ignored
    assert all((ROOT / name).exists() for name in copied)


def test_the_limits_of_nginx_are_wider_than_the_relays() -> None:
    text = (ROOT / "config" / "nginx.conf").read_text("utf-8")
    numbers = {name: int(value) for name, value in re.findall(r"(\w+) (\d+)[sm];", text)}
    defaults = HttpSettings()
    assert numbers["client_max_body_size"] * 2**20 > defaults.max_body
    assert numbers["client_header_timeout"] >= defaults.header_timeout
    assert numbers["client_body_timeout"] >= defaults.body_timeout
    assert numbers["proxy_read_timeout"] > waiting.MAX_WAIT_SECONDS


def test_systemd_waits_for_the_shutdown_of_a_relay() -> None:
    unit = (ROOT / "config" / "push-relay.service").read_text("utf-8")
    assert (
        int(re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)[0]) > workers.SHUTDOWN_PATIENCE_SECONDS
    )
    assert int(re.findall(r"^LimitNOFILE=(\d+)$", unit, re.MULTILINE)[0]) > HttpSettings().max_connections
    assert "\nKillMode=mixed\n" in unit


@pytest.mark.needs("systemd-analyze")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    text = (ROOT / "config" / "push-relay.service").read_text("utf-8")
    unit = tmp_path / "push-relay.service"
    unit.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )
    ours = [line for line in done.stderr.splitlines() if "push-relay.service" in line]
    assert not ours
