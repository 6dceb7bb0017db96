"""Routing: the destinations of a push and the installations they reach -> its targets.

- a customer means every installation on every device of that customer; a device means every installation on that
  device, and no other device of the customer; an address means every customer that has it as an alias;
- each installation is a target at most once per push;
- with `debug` (or a test-only token) only listed test devices are targets; the others are counted as skipped;
- a destination that reaches no installation is a warning, at most MAX_FAULTS of them; it is an error only if all
  destinations are addresses and none of them reaches an installation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from relay.core.accounts import Environment
from relay.core.errors import Fault, Invalid
from relay.core.ids import InstallationId
from relay.core.push.destinations import MAX_FAULTS, DestinationName
from relay.core.push.request import PushRequest
from relay.core.strict_json import escape_pointer_token


class Target(NamedTuple):
    """An installation that a push goes to, with its device token and all that chooses topic and credential."""

    installation_id: InstallationId
    bundle_id: str
    team_id: str
    environment: Environment | None
    token: bytes


class ReachedTarget(NamedTuple):
    """An installation that a destination of the request reaches. `listed`: its device is a listed test device."""

    destination: DestinationName
    listed: bool
    target: Target


class Route(NamedTuple):
    """The targets of a push by installation id, the number of skipped installations, and unreachable destinations."""

    targets: dict[InstallationId, Target]
    skipped: int
    warnings: list[Fault]


def route_push(
    customers: Sequence[str],
    devices: Iterable[str],
    reached: Iterable[ReachedTarget],
    *,
    listed_only: bool,
    addresses: Iterable[bytes] = (),
    places: Mapping[DestinationName, str] | None = None,
) -> Route:
    """Return the route of one push from the installations that its destinations reach. `places` are a PushRequest's."""
    targets: dict[InstallationId, Target] = {}
    skipped: set[InstallationId] = set()
    reachable: set[DestinationName] = set()
    for destination, listed, target in reached:
        reachable.add(destination)
        if listed_only and not listed:
            skipped.add(target.installation_id)
        else:
            targets[target.installation_id] = target
    names: tuple[DestinationName, ...] = (*customers, *devices, *addresses)
    unreachable = [name for name in names if name not in reachable]
    warnings = [
        Fault("unreachable", _place(name, places), "No installation with a device token.")
        for name in unreachable[:MAX_FAULTS]
    ]
    if len(unreachable) > MAX_FAULTS:
        detail = f"{len(unreachable)} destinations reach nothing; {MAX_FAULTS} of them are named."
        warnings.append(Fault("too_many", "/destinations", detail))
    return Route(targets, len(skipped), warnings)


def _place(name: DestinationName, places: Mapping[DestinationName, str] | None) -> str:
    place = places.get(name) if places else None
    return place or f"/destinations/{escape_pointer_token(str(name))}"


def check_recipients(request: PushRequest, route: Route) -> None:
    """Raise Invalid if a request names addresses only and none of them reaches an installation.

    Installations that are skipped because their device is no listed test device count as reached.
    """
    named_otherwise = request.customers or request.devices
    if request.addresses and not (named_otherwise or route.targets or route.skipped):
        detail = "No customer with a device has any of these addresses; nothing was sent."
        raise Invalid(detail, [Fault("no_recipients", "/destinations", detail)])
