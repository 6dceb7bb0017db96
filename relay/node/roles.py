"""The roles of a node."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Roles:
    """The work of a node: to answer the API and the console (`api`), to send pushes (`dispatch`), or both."""

    api: bool = True
    dispatch: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """The roles by name, as the table of nodes stores them."""
        return tuple(name for name, has in (("api", self.api), ("dispatch", self.dispatch)) if has)


ALL_ROLES = Roles()
