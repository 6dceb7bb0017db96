"""Pushes to simulators, through a stand-in for xcrun that records its calls, and as files to drag."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from relay.cli.simulator import Simulators
from relay.client import PushSender

BUNDLE = "com.example.shop"
PHONE = "9F1B2C3D-0000-4000-8000-00000000ABCD"
NASTY = {"aps": {"alert": "$(touch x); `id` '\" && | \\ \n é"}, "-h": "--help"}
XCRUN = """#!{python}
import json, pathlib, sys, time
arguments = sys.argv[1:]
with pathlib.Path({seen!r}).open("a") as seen:
    seen.write(json.dumps([arguments, sys.stdin.read()]) + "\\n")
if arguments[2] == "booted":
    sys.exit("No devices are booted.")
if arguments[2].endswith("F"):
    time.sleep(60)
"""


class Xcrun:
    """A stand-in for xcrun in `directory`. `seen` holds the arguments and the input of each call."""

    def __init__(self, directory: Path) -> None:
        self.path, self._seen = directory / "xcrun", directory / "seen"
        self.path.write_text(XCRUN.format(python=sys.executable, seen=str(self._seen)))
        self.path.chmod(0o700)

    @property
    def seen(self) -> list[Any]:
        return [json.loads(line) for line in self._seen.read_text().splitlines()]


@pytest.fixture
def xcrun(tmp_path: Path) -> Xcrun:
    return Xcrun(tmp_path)


async def test_simctl_gets_the_payload_without_a_shell(xcrun: Xcrun, tmp_path: Path) -> None:
    simulators = Simulators(BUNDLE, tmp_path, xcrun=str(xcrun.path))
    result = await simulators.push([PHONE, PHONE], {"payload": NASTY})
    assert (result.success, result.warnings, result.errors) == (True, (), ())
    ((arguments, payload),) = xcrun.seen
    assert arguments == ["simctl", "push", PHONE, BUNDLE, "-"]
    assert json.loads(payload) == NASTY
    assert not (tmp_path / "x").exists()


async def test_a_simulator_that_fails_is_a_warning_beside_another_that_works(
    xcrun: Xcrun, tmp_path: Path
) -> None:
    simulators = Simulators(BUNDLE, tmp_path, xcrun=str(xcrun.path))
    some = await simulators.push(["booted", PHONE], {"payload": NASTY})
    assert (some.success, some.errors) == (True, ())
    assert "No devices are booted." in some.warnings[0].detail
    none = await simulators.push(["booted"], {"payload": NASTY})
    assert (none.success, [error.code for error in none.errors]) == (False, ["simulator"])


async def test_a_hanging_simctl_is_ended(xcrun: Xcrun, tmp_path: Path) -> None:
    simulators = Simulators(BUNDLE, tmp_path, xcrun=str(xcrun.path), timeout=0.5)
    result = await simulators.push([PHONE.replace("ABCD", "ABCF")], {"payload": NASTY})
    assert "does not end" in result.errors[0].detail


async def test_a_missing_xcrun_is_an_error(tmp_path: Path) -> None:
    result = await Simulators(BUNDLE, xcrun=str(tmp_path / "none")).push([PHONE], {"payload": NASTY})
    assert "does not start" in result.errors[0].detail


@pytest.mark.skipif(sys.platform == "darwin", reason="there is a real xcrun")
async def test_a_file_to_drag_is_written_where_there_is_no_xcrun(tmp_path: Path) -> None:
    for _ in range(2):
        result = await Simulators(BUNDLE, tmp_path).push(["booted"], {"payload": NASTY})
        (file,) = tmp_path.glob("*.apns")
        assert (result.success, result.errors) == (False, ())
        assert str(file) in result.warnings[0].detail
        assert json.loads(file.read_text("utf-8")) == {**NASTY, "Simulator Target Bundle": BUNDLE}
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    nowhere = await Simulators(BUNDLE, tmp_path / "none").push(["booted"], {"payload": NASTY})
    assert [error.code for error in nowhere.errors] == ["simulator"]


async def test_a_notification_becomes_the_payload_that_a_relay_would_send(xcrun: Xcrun) -> None:
    notification = {
        "title": "New",
        "image_url": "https://example.com/a.png",
        "open": {"data_class": "Invoices"},
    }
    simulators = Simulators(BUNDLE, xcrun=str(xcrun.path))
    async with PushSender("push_x", "shop", "http://127.0.0.1:1", simulators=simulators) as sender:
        result = await sender.send_notification(notification, [PHONE])
    assert (result.success, result.push_id) == (True, None)
    assert json.loads(xcrun.seen[0][1]) == {
        "aps": {"alert": {"title": "New"}, "mutable-content": 1},
        "data": {"media-url": "https://example.com/a.png"},
        "dataClass": "Invoices",
    }


@pytest.mark.parametrize(
    ("content", "pointer"),
    [
        ({"payload": {"aps": 1}}, "/payload/aps"),
        ({"payload": {"x": 1}}, "/payload/aps"),
        ({"payload": {"aps": {"alert": "x" * 5000}}}, "/payload"),
        ({"notification": {"body": "No title"}}, "/notification/title"),
    ],
)
async def test_content_that_a_relay_refuses_is_not_pushed(
    xcrun: Xcrun, tmp_path: Path, content: Any, pointer: str
) -> None:
    result = await Simulators(BUNDLE, tmp_path, xcrun=str(xcrun.path)).push([PHONE], content)
    assert [error.pointer for error in result.errors] == [pointer]
    assert not (tmp_path / "seen").exists()


@pytest.mark.parametrize("bundle_id", ["", "-h", "a b", "a;b", "../a", "a..b"])
def test_a_wrong_bundle_identifier_is_refused(bundle_id: str) -> None:
    with pytest.raises(ValueError, match="bundle identifier"):
        Simulators(bundle_id)
