"""How far a push is, as a bar; and what happened at a test device, as a line of moments. All of it is pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from relay.core.delivery.outcomes import Outcome
from relay.core.delivery.reasons import ReasonRule, explain

WIDTH = 1000
"""Of the bar, in units of its own."""
_THINNEST = 8
"""What is there is seen, though it be one in a million."""
_FOLLOWS = {
    "fail": "That was the end of it.",
    "retire_unregistered": "The device token is retired, unless the app registered again meanwhile.",
    "retire_wrong_topic": "The device token is retired.",
    "retire_bad_token": "The device token is retired, if the copy's environment is known and few others say the same.",
    "suspend": "The key of its team is suspended, and the push kept until it is mended.",
    "retry": "It is tried again later.",
    "retry_soon": "It is tried again on another connection.",
}
"""What the relay does after an answer, by the action of `core/delivery/reasons.py`."""
_FAR = {"answered": "Apple answered", "not_sent": "It could not be sent", "unknown": "No answer came"}


class Segment(NamedTuple):
    """A part of the bar: an outcome or "pending", how many, and where it is drawn."""

    name: str
    copies: int
    start: int
    width: int


def bar(counts: Mapping[str, int]) -> list[Segment]:
    """The parts of the bar that are not empty, from left to right; together they fill it. "pending" is one of them."""
    present = [(name, counts.get(name, 0)) for name in (*Outcome, "pending") if counts.get(name, 0) > 0]
    total = sum(count for _, count in present)
    spare = WIDTH - _THINNEST * len(present)
    segments: list[Segment] = []
    done = start = 0
    for number, (name, count) in enumerate(present, start=1):
        done += count
        end = _THINNEST * number + spare * done // total
        segments.append(Segment(name, count, start, end - start))
        start = end
    return segments


class Reason(NamedTuple):
    """Why so many did not arrive, and what to do."""

    name: str
    copies: int
    explanation: ReasonRule


def reasons(counts: Mapping[str, int]) -> list[Reason]:
    """The reasons of a push with what each means, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [Reason(name, count, explain(name)) for name, count in ordered if name]


class Moment(NamedTuple):
    """Something that happened. `tone`: "good", "bad", "wait" or ""; `details` are names and values."""

    at: datetime
    title: str
    text: str = ""
    tone: str = ""
    details: Sequence[tuple[str, str]] = ()


@dataclass(slots=True)
class TimeLine:
    """What happened at one copy on a listed device, from the moment at which the push was accepted."""

    label: str
    device: str
    alongside: str
    failure_domain: str
    moments: list[Moment] = field(default_factory=list)


def time_lines(traces: Iterable[Mapping[str, Any]]) -> list[TimeLine]:
    """Traces as `GET /v1.0/pushes/{push_id}/trace/` shows them, in its order: by copy, and by attempt."""
    lines: dict[tuple[str, str], TimeLine] = {}
    for trace in traces:
        route = trace["route"]
        key = route["device"] or "", route["alongside"]
        line = lines.get(key)
        if line is None:
            line = lines[key] = TimeLine(trace["label"], *key, trace["failure_domain"])
            line.moments.append(Moment(_time(trace["accepted_at"]), "The relay accepted it"))
        line.moments += _attempt(trace)
    return list(lines.values())


def _attempt(trace: Mapping[str, Any]) -> list[Moment]:
    number, answer = trace["attempt"] + 1, trace["answer"]
    sent_at, answered_at = _time(trace["sent_at"]), _time(trace["answered_at"])
    milliseconds = round((answered_at - sent_at).total_seconds() * 1000)
    if trace["simulated"]:
        title = f"Attempt {number} was played"
        text = f"The device has the failure domain {trace['failure_domain']}: Apple was not asked."
    else:
        known = "" if trace["environment_known"] else ", as its environment is not known"
        title = f"Attempt {number} was sent to Apple"
        text = f"With the {trace['credential_kind']} of the team {trace['team_id']}, to {trace['environment']}{known}."
    details = [(name, str(value)) for name, value in trace["headers"].items()]
    sent = Moment(sent_at, title, text, "", details)
    if answer["status"] == 200:
        return [
            sent,
            Moment(
                answered_at,
                "Apple took it" if not trace["simulated"] else "It counts as delivered",
                f"After {milliseconds} ms.",
                "good",
                _of_answer(answer),
            ),
        ]
    far = _FAR.get(answer["fate"], "It ended")
    said = " ".join(part for part in (str(answer["status"] or ""), answer["reason"]) if part)
    explained = explain(answer["reason"])
    follows = _FOLLOWS.get(trace["verdict"], "")
    if trace["simulated"] and trace["verdict"].startswith("retire"):
        follows = "The device token stays, because this was played."
    tone = "wait" if trace["verdict"] in ("retry", "retry_soon", "suspend") else "bad"
    text = f"{explained.meaning} {follows}".strip()
    return [sent, Moment(answered_at, f"{far}: {said}" if said else far, text, tone, _of_answer(answer))]


def _of_answer(answer: Mapping[str, Any]) -> list[tuple[str, str]]:
    shown = (("apns-unique-id", answer["apns_unique_id"]), ("timestamp", answer["timestamp_ms"]))
    return [(name, str(value)) for name, value in shown if value is not None]


def _time(text: str) -> datetime:
    """RFC 3339, as a trace has it."""
    return datetime.fromisoformat(text)
