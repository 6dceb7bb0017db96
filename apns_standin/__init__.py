"""A stand-in for Apple's push service: answers like it, misbehaves when told, shows what devices received."""

from .answers import ScriptedAnswer
from .client import ControlClient, ControlError
from .errors import ConflictError, InvalidError, NotFoundError, StandInError, StateFileError
from .faults import ListenerFault
from .limits import StandInLimits
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
    "ScriptedAnswer",
    "StandInDevice",
    "StandInError",
    "StandInLimits",
    "StateFileError",
    "run",
]
