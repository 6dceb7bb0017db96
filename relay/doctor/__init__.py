"""`push-relay doctor`: whether a relay with these settings will work, and what does not. It changes nothing."""

from relay.doctor.examination import examine
from relay.doctor.findings import Finding, State

__all__ = ["Finding", "State", "examine"]
