"""Fixtures of the tests of authentication, which need endpoints."""

from __future__ import annotations

from tests.api.conftest import front  # noqa: F401
