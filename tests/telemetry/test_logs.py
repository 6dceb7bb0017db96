"""The form of log lines, those of the relay and those of libraries."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from structlog.stdlib import BoundLogger

from relay.telemetry.logs import Form, formatter, get_logger
from relay.telemetry.request_ids import REQUEST_ID


class Lines(logging.Handler):
    """A handler that keeps log lines in their written form."""

    def __init__(self, form: Form) -> None:
        super().__init__()
        self.setFormatter(formatter(form, colors=False))
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


@pytest.fixture
def form() -> Form:
    return "json"


@pytest.fixture
def lines(form: Form) -> Iterator[Lines]:
    kept, root = Lines(form), logging.getLogger("tests.of.logs")
    root.addHandler(kept)
    yield kept
    root.removeHandler(kept)


@pytest.fixture
def log() -> BoundLogger:
    return get_logger("tests.of.logs")


def test_a_line_of_json_is_an_object(log: BoundLogger, lines: Lines) -> None:
    log.warning("a thing happened", count=3, who="Ada\nLovelace", missing=None)
    line = json.loads(lines.texts[0])
    assert datetime.fromisoformat(line.pop("timestamp")).tzinfo is not None
    assert line == {
        "level": "warning",
        "event": "a thing happened",
        "logger": "tests.of.logs",
        "count": 3,
        "who": "Ada\nLovelace",
        "missing": None,
    }


@pytest.mark.parametrize("form", ["text"])
def test_a_line_of_text_is_one_line(log: BoundLogger, lines: Lines) -> None:
    log.warning("a thing happened", count=3, who="Ada\n2026-01-01 [error] a line of her own")
    assert lines.texts[0].count("\n") == 0
    assert "a thing happened" in lines.texts[0]
    assert "count=3" in lines.texts[0]
    assert "who='Ada\\n2026" in lines.texts[0]


@pytest.mark.parametrize("form", ["text", "json"])
def test_lines_of_libraries_have_the_form_of_the_relays(lines: Lines, form: Form) -> None:
    logging.getLogger("tests.of.logs.theirs").warning("%d things happened", 2)
    assert "2 things happened" in lines.texts[0]
    assert "tests.of.logs.theirs" in lines.texts[0]
    if form == "json":
        assert json.loads(lines.texts[0])["event"] == "2 things happened"


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_exception_is_logged_without_its_values(lines: Lines) -> None:
    device_token = "secret-device-token"
    try:
        int(device_token)
    except ValueError:
        logging.getLogger("tests.of.logs.theirs").exception("it failed")
    assert "ValueError" in lines.texts[0]
    assert "test_logs.py" in lines.texts[0]
    assert device_token not in lines.texts[0]
    assert "Traceback" not in lines.texts[0]


def test_lines_of_a_request_name_it(log: BoundLogger, lines: Lines) -> None:
    set_before = REQUEST_ID.set("4bf92f3577b34da6")
    try:
        log.warning("inside")
    finally:
        REQUEST_ID.reset(set_before)
    log.warning("outside")
    first, second = map(json.loads, lines.texts)
    assert first["request_id"] == "4bf92f3577b34da6"
    assert "request_id" not in second


def test_a_level_that_is_off_writes_nothing(log: BoundLogger, lines: Lines) -> None:
    class Costly:
        def __str__(self) -> Any:
            raise AssertionError("a detail was formatted that is not logged")

    logging.getLogger("tests.of.logs").setLevel(logging.WARNING)
    try:
        log.debug("a detail", costly=Costly())
        assert not log.isEnabledFor(logging.DEBUG)
    finally:
        logging.getLogger("tests.of.logs").setLevel(logging.NOTSET)
    assert lines.texts == []
