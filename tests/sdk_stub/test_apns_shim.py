"""The deprecated name of the APNs stand-in: it still works, and names its successor."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "default", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )


def test_importing_the_old_name_warns_and_gives_the_package():
    code = "import apns_standin, sdk_stub.apns; print(sdk_stub.apns.ApnsStandIn is apns_standin.ApnsStandIn)"
    result = run_python("-c", code)
    assert result.stdout == "True\n"
    assert "DeprecationWarning: sdk_stub.apns is now apns_standin" in result.stderr


def test_running_the_old_name_warns_and_runs_the_program():
    result = run_python("-m", "sdk_stub.apns", "--help")
    assert result.stdout.startswith("usage: python -m apns_standin")
    assert "sdk_stub.apns is deprecated: run `python -m apns_standin`" in result.stderr
