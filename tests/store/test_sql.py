"""Named statements: every file can be read, and comments stay out of what the server gets."""

from __future__ import annotations

from pathlib import Path

import pytest

import relay.store
from relay.store import sql

ROOT = Path(relay.store.__file__).parent
FILES = [path for path in ROOT.rglob("*.sql") if path.parent.name != "migrations"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_statements_are_named_and_begin_without_a_comment(path: Path) -> None:
    package = ".".join(("relay", "store", *path.parent.relative_to(ROOT).parts))
    statements = sql.load(package, path.name)
    assert statements
    names = [line.removeprefix("-- :") for line in path.read_text().splitlines() if line.startswith("-- :")]
    assert list(statements) == names, "a name stands twice"
    for name, statement in statements.items():
        assert statement, name
        assert not statement.startswith("--"), name
