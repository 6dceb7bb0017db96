"""Deprecated: `python -m apns_standin` is the command."""

import sys

from apns_standin.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
