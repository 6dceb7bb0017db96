"""`push-relay demo`: the whole product on one machine, for a trial."""

from relay.demo.run import run_demo

__all__ = ["run_demo"]
