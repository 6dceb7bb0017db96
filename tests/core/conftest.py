"""Properties have no deadline: on a busy machine a single example may take long."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("relay", deadline=None)
settings.load_profile("relay")
