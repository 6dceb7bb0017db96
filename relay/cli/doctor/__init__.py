"""`push-relay doctor`: an examination of settings, database and credentials that changes nothing."""

from relay.cli.doctor.examination import examine
from relay.cli.doctor.findings import Finding, FindingState

__all__ = ["Finding", "FindingState", "examine"]
