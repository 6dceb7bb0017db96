"""Stand-in for Apple's push service: it answers like APNs, plays faults on request, and shows what devices received."""

from .answers import ScriptedAnswer
from .client import ControlClient, ControlError
from .errors import ConflictError, InvalidError, NotFoundError, StandInError, StateFileError
from .faults import ListenerFault
from .limits import RetentionLimits, StandInLimits
from .ports import StandInPorts
from .receipts import Receipt
from .registry import Environment, IssuedKey, StandInDevice
from .server import run
from .stand_in import ApnsStandIn

__all__ = [
    "ApnsStandIn",
    "ConflictError",
    "ControlClient",
    "ControlError",
    "Environment",
    "InvalidError",
    "IssuedKey",
    "ListenerFault",
    "NotFoundError",
    "Receipt",
    "RetentionLimits",
    "ScriptedAnswer",
    "StandInDevice",
    "StandInError",
    "StandInLimits",
    "StandInPorts",
    "StateFileError",
    "run",
]
