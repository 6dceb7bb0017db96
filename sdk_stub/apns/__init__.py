"""A stand-in for Apple's push service: answers like it, misbehaves when told, shows what devices received."""

from .answers import ScriptedAnswer
from .client import ControlClient, ControlError
from .errors import ConflictError, InvalidError, NotFoundError, StandInError, StateFileError
from .faults import ListenerFault
from .limits import Limits
from .receipts import Receipt
from .registry import Device, Environment, IssuedKey
from .server import run
from .stand_in import ApnsStandIn

__all__ = [
    "ApnsStandIn",
    "ConflictError",
    "ControlClient",
    "ControlError",
    "Device",
    "Environment",
    "InvalidError",
    "IssuedKey",
    "Limits",
    "ListenerFault",
    "NotFoundError",
    "Receipt",
    "ScriptedAnswer",
    "StandInError",
    "StateFileError",
    "run",
]
