"""The command `python -m apns_standin`: run the stand-in until Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
from pathlib import Path

from . import server
from .errors import StandInError
from .limits import RetentionLimits, StandInLimits
from .ports import DEFAULT_PORTS, StandInPorts


def main(arguments: list[str] | None = None) -> int:
    """Run the stand-in and return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        asyncio.run(_serve(options))
    except (OSError, StandInError) as error:
        print(f"the stand-in cannot start: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m apns_standin", description="A stand-in for Apple's APNs.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--production-port", type=int, default=DEFAULT_PORTS.production)
    parser.add_argument("--sandbox-port", type=int, default=DEFAULT_PORTS.sandbox)
    parser.add_argument("--production-channels-port", type=int, default=DEFAULT_PORTS.production_channels)
    parser.add_argument("--sandbox-channels-port", type=int, default=DEFAULT_PORTS.sandbox_channels)
    parser.add_argument("--control-port", type=int, default=DEFAULT_PORTS.control)
    parser.add_argument("--fallback", action="store_true", help="take a free port where one is taken")
    parser.add_argument("--state-file", type=Path, help="keep keys and device tokens over a restart")
    parser.add_argument("--ca-file", type=Path, help="where to write the certificate clients must trust")
    parser.add_argument("--initial-streams", type=int, default=1000, help="until the first accepted push")
    parser.add_argument(
        "--receipts", type=int, default=0, help="number of apns-ids to count accepted pushes of"
    )
    parser.add_argument("--seed", type=int, help="makes faults that have a share strike alike in each run")
    return parser


async def _serve(options: argparse.Namespace) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    ports = StandInPorts(
        production=options.production_port,
        sandbox=options.sandbox_port,
        production_channels=options.production_channels_port,
        sandbox_channels=options.sandbox_channels_port,
        control=options.control_port,
        fallback_to_free_port=options.fallback,
    )
    try:
        await server.run(
            options.host,
            ports=ports,
            state_file=options.state_file,
            ca_file=options.ca_file,
            limits=StandInLimits(initial_streams=options.initial_streams),
            retention=RetentionLimits(receipts=options.receipts),
            chance=random.Random(options.seed),  # noqa: S311  nothing here is a secret
        )
    except asyncio.CancelledError:
        return  # cancelled by SIGTERM


if __name__ == "__main__":
    sys.exit(main())
