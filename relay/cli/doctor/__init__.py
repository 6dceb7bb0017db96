"""`push-relay doctor`: whether a relay with these settings will work, and what does not. It changes nothing."""

from relay.cli.doctor.examination import examine
from relay.cli.doctor.findings import Finding, FindingState

__all__ = ["Finding", "FindingState", "examine"]
