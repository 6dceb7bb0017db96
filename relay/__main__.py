"""`python -m relay`: the same as `push-relay`."""

from relay.cli import main

main()
