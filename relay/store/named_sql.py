"""Statements kept in a .sql file beside the module that runs them, each under a line `-- :name`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources

_NAME = re.compile(r"^-- :(\w+)$", re.MULTILINE)


def load(file: str) -> Mapping[str, str]:
    """The statements of `relay/store/<file>` by name."""
    parts = _NAME.split(resources.files("relay.store").joinpath(file).read_text(encoding="utf-8"))
    return dict(zip(parts[1::2], (text.strip() for text in parts[2::2]), strict=True))
