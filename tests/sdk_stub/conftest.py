"""Fixtures of the SDK's tests: the endpoints of a relay."""

from tests.api.conftest import front  # noqa: F401
