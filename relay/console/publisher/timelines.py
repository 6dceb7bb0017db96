"""The timeline of a push on each test device, built from its traces. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from relay.core.delivery.reasons import explain

_CONSEQUENCES = {
    "fail": "The delivery has failed.",
    "retire_unregistered": "The device token is retired, unless the app has registered again since.",
    "retire_wrong_topic": "The device token is retired.",
    "retire_bad_token": (
        "The device token is retired if the copy's environment is known and few other tokens get this answer."
    ),
    "suspend": "The credential of the team is suspended; the push waits until it is fixed.",
    "retry": "The relay retries later.",
    "retry_soon": "The relay retries on another connection.",
}
"""Texts on what the relay does after an answer, by the action of `relay/core/delivery/reasons.py`."""
_SIMULATED_RETIREMENT = "The device token stays active, because the answer was simulated."
_FATE_TITLES = {
    "answered": "Apple answered",
    "not_sent": "The push could not be sent",
    "unknown": "No answer came",
}
_OTHER_FATE_TITLE = "The attempt ended"
_SIMULATED_TITLE = "Simulated answer"
_WAITING_ACTIONS = ("retry", "retry_soon", "suspend")


class TimelineMoment(NamedTuple):
    """An event on a timeline. `tone` is "good", "bad", "wait" or ""; `details` are (name, value) pairs."""

    at: datetime
    title: str
    text: str = ""
    tone: str = ""
    details: Sequence[tuple[str, str]] = ()


@dataclass(slots=True)
class Timeline:
    """The events of a push at one copy on a test device, from its acceptance by the relay."""

    label: str
    device: str
    alongside: str
    failure_domain: str
    moments: list[TimelineMoment] = field(default_factory=list)


def build_timelines(traces: Iterable[Mapping[str, Any]]) -> list[Timeline]:
    """Return a timeline for each copy. `traces` are those of `GET /v1.0/pushes/{push_id}/trace/`, in its order."""
    timelines: dict[tuple[str, str], Timeline] = {}
    for trace in traces:
        route = trace["route"]
        key = route["device"] or "", route["alongside"]
        timeline = timelines.get(key)
        if timeline is None:
            timeline = timelines[key] = Timeline(trace["label"], *key, trace["failure_domain"])
            accepted_at = datetime.fromisoformat(trace["accepted_at"])
            timeline.moments.append(TimelineMoment(accepted_at, "The relay accepted the push"))
        timeline.moments += [_sent_moment(trace), _answer_moment(trace)]
    return list(timelines.values())


def _sent_moment(trace: Mapping[str, Any]) -> TimelineMoment:
    attempt = trace["attempt"] + 1
    if trace["simulated"]:
        title = f"Attempt {attempt} was simulated"
        text = f"The device has the failure domain {trace['failure_domain']}, so nothing was sent to Apple."
    else:
        guess = "" if trace["environment_known"] else " (the copy's environment is unknown)"
        title = f"Attempt {attempt} was sent to Apple"
        text = f"With the {trace['credential_kind']} of team {trace['team_id']}, to {trace['environment']}{guess}."
    details = [(name, str(value)) for name, value in trace["headers"].items()]
    return TimelineMoment(datetime.fromisoformat(trace["sent_at"]), title, text, "", details)


def _answer_moment(trace: Mapping[str, Any]) -> TimelineMoment:
    answer, action = trace["answer"], trace["verdict"]
    answered_at = datetime.fromisoformat(trace["answered_at"])
    details = _answer_details(answer)
    if answer["status"] == 200:
        latency = answered_at - datetime.fromisoformat(trace["sent_at"])
        title = "It counts as delivered" if trace["simulated"] else "Apple accepted it"
        text = f"After {round(latency.total_seconds() * 1000)} ms."
        return TimelineMoment(answered_at, title, text, "good", details)
    title = _SIMULATED_TITLE if trace["simulated"] else _FATE_TITLES.get(answer["fate"], _OTHER_FATE_TITLE)
    if reply := " ".join(part for part in (str(answer["status"] or ""), answer["reason"]) if part):
        title = f"{title}: {reply}"
    consequence = _CONSEQUENCES.get(action, "")
    if trace["simulated"] and action.startswith("retire"):
        consequence = _SIMULATED_RETIREMENT
    text = f"{explain(answer['reason']).meaning} {consequence}".strip()
    tone = "wait" if action in _WAITING_ACTIONS else "bad"
    return TimelineMoment(answered_at, title, text, tone, details)


def _answer_details(answer: Mapping[str, Any]) -> list[tuple[str, str]]:
    fields = (("apns-unique-id", answer["apns_unique_id"]), ("timestamp", answer["timestamp_ms"]))
    return [(name, str(value)) for name, value in fields if value is not None]
