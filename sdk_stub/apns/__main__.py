"""`python -m sdk_stub.apns`, deprecated: `python -m apns_standin` is the command."""

import sys

from apns_standin.__main__ import main

if __name__ == "__main__":
    print("sdk_stub.apns is deprecated: run `python -m apns_standin`", file=sys.stderr)
    sys.exit(main())
