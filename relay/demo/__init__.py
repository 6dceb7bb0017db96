"""`push-relay demo`: the whole product on one machine, to look at and to try."""

from relay.demo.run import run_demo

__all__ = ["run_demo"]
