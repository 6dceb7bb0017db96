"""Deprecated name of the package `apns_standin`; removed in version 0.3."""

import warnings

from apns_standin import *  # noqa: F403

warnings.warn("sdk_stub.apns is now apns_standin", DeprecationWarning, stacklevel=2)
