"""Destinations and installations -> deliveries. The rules, once:

- a customer means every copy on every device of that customer; a device means every copy on that device, and no
  other device of the customer; an address means every customer that has it as an alias;
- each installation at most once per push, each device token at most once per push;
- with `debug` (or a test-only token) only listed test devices are reached; the others are counted as skipped;
- a destination that reaches nothing is a warning, of which there are as many as errors could be; only where all are
  addresses, and nobody has any of them, it is an error;
- each copy goes out under its own topic, to its own environment, with the credential of its own team.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from relay.core.accounts import Environment
from relay.core.errors import Fault, Invalid
from relay.core.push.destinations import MAX_FAULTS, DestinationName
from relay.core.push.request import PushRequest
from relay.core.strict_json import escape_pointer_token


class Target(NamedTuple):
    """An installation with its device token: where a push to it goes, and with what."""

    installation_id: int
    bundle_id: str
    team_id: str
    environment: Environment | None
    token: bytes


class Reach(NamedTuple):
    """A copy that a destination reaches: `destination` is what was asked for."""

    destination: DestinationName
    listed: bool
    copy: Target


class Route(NamedTuple):
    """The copies of a push by installation, how many were skipped, and what could not be reached."""

    copies: dict[int, Target]
    skipped: int
    warnings: list[Fault]


def route_push(
    customers: Sequence[str],
    devices: Iterable[str],
    reached: Iterable[Reach],
    *,
    listed_only: bool,
    addresses: Iterable[bytes] = (),
    places: Mapping[DestinationName, str] | None = None,
) -> Route:
    """The route of one push from the copies its destinations reach. `places` are a PushRequest's."""
    copies: dict[int, Target] = {}
    skipped: set[int] = set()
    heard: set[DestinationName] = set()
    for destination, listed, copy in reached:
        heard.add(destination)
        if listed_only and not listed:
            skipped.add(copy.installation_id)
        else:
            copies[copy.installation_id] = copy
    names: tuple[DestinationName, ...] = (*customers, *devices, *addresses)
    unheard = [name for name in names if name not in heard]
    warnings = [
        Fault("unreachable", _place(name, places), "No installation with a device token.")
        for name in unheard[:MAX_FAULTS]
    ]
    if len(unheard) > MAX_FAULTS:
        detail = f"{len(unheard)} destinations reach nothing; {MAX_FAULTS} of them are named."
        warnings.append(Fault("too_many", "/destinations", detail))
    return Route(copies, len(skipped), warnings)


def _place(name: DestinationName, places: Mapping[DestinationName, str] | None) -> str:
    place = places.get(name) if places else None
    return place or f"/destinations/{escape_pointer_token(str(name))}"


def check_recipients(request: PushRequest, made: Route) -> None:
    """Raises Invalid if a request names addresses only and none of them reaches anybody.

    Somebody who is reached, but is not on the list of test devices, is somebody.
    """
    named_otherwise = request.customers or request.devices
    if request.addresses and not (named_otherwise or made.copies or made.skipped):
        detail = "No customer with a device has any of these addresses; nothing was sent."
        raise Invalid(detail, [Fault("no_recipients", "/destinations", detail)])
