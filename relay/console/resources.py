"""The parts that all page groups share."""

from __future__ import annotations

from dataclasses import dataclass

from relay.console.renderer import PageRenderer
from relay.core.clock import Clock, Random
from relay.store.database import Database


@dataclass(frozen=True, slots=True)
class PageResources:
    """The renderer, the database, and the sources of time and randomness."""

    renderer: PageRenderer
    database: Database
    clock: Clock
    random: Random
