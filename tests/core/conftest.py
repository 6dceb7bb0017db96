"""Properties are not timed: on a busy machine a single example may take long for no fault of its own."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("relay", deadline=None)
settings.load_profile("relay")
