"""The device side's tests have the endpoints' front, too."""

from tests.api.conftest import front  # noqa: F401
