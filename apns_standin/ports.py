"""TCP ports of the stand-in."""

from __future__ import annotations

from typing import Final

import msgspec


class StandInPorts(msgspec.Struct, frozen=True):
    """Ports to listen on; 0 takes any free port.

    Attributes:
        production: pushes, in place of api.push.apple.com.
        sandbox: pushes, in place of api.sandbox.push.apple.com.
        production_channels: channel management, in place of api-manage-broadcast.push.apple.com.
        sandbox_channels: channel management, in place of api-manage-broadcast.sandbox.push.apple.com.
        control: the control API.
        fallback_to_free_port: take any free port instead of a port that is taken.
    """

    production: int = 0
    sandbox: int = 0
    production_channels: int = 0
    sandbox_channels: int = 0
    control: int = 0
    fallback_to_free_port: bool = False


ANY_PORTS: Final = StandInPorts()
DEFAULT_PORTS: Final = StandInPorts(
    production=2197,  # Apple's alternative port
    sandbox=2198,
    production_channels=2196,  # Apple's
    sandbox_channels=2195,  # Apple's
    control=2199,
)
"""The ports of the program `python -m apns_standin`."""
