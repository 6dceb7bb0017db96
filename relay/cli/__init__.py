"""The command `push-relay`."""

from relay.cli.main import main

__all__ = ["main"]
