"""Named statements: every file can be read, and comments stay out of what the server gets."""

from __future__ import annotations

from pathlib import Path

import pytest

import relay.store
from relay.store import sql

ROOT = Path(relay.store.__file__).parent
FILES = [path for path in ROOT.rglob("*.sql") if path.parent.name != "migrations"]
_MARK = "-- :"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_statements_are_named_and_begin_without_a_comment(path: Path) -> None:
    package = ".".join(("relay", "store", *path.parent.relative_to(ROOT).parts))
    statements = sql.load(package, path.name)
    assert statements
    marks = [line.removeprefix(_MARK) for line in path.read_text().splitlines() if line.startswith(_MARK)]
    assert list(statements) == [mark for mark in marks if not mark.startswith(("fragment ", "include "))]
    for name, statement in statements.items():
        assert statement, name
        assert not statement.startswith("--"), name
        assert _MARK not in statement, name


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_fragment_is_included_more_than_once(path: Path) -> None:
    lines = path.read_text().splitlines()
    for name in [line.removeprefix("-- :fragment ") for line in lines if line.startswith("-- :fragment ")]:
        assert [line.strip() for line in lines].count(f"-- :include {name}") > 1, name


def test_a_fragment_stands_in_place_of_the_lines_that_include_it() -> None:
    text = """
-- A comment on the file.
-- :fragment columns
-- Columns of a thing.
id,
    name

-- :find
-- Finds one.
SELECT
    -- :include columns
FROM thing WHERE id = $1  -- by its key

-- :list
-- :include columns
"""
    assert sql.parse(text) == {
        "find": "SELECT\nid,\n    name\nFROM thing WHERE id = $1  -- by its key",
        "list": "id,\n    name",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-- :find\nSELECT 1\n-- :find\nSELECT 2\n", "The name find stands twice"),
        ("-- :fragment find\n1\n-- :find\nSELECT 2\n", "The name find stands twice"),
        ("-- :find\n-- :include columns\n-- :fragment columns\n1\n", "no fragment columns"),
        ("-- :columns\n1\n-- :find\n-- :include columns\n", "no fragment columns"),
    ],
)
def test_a_name_that_is_doubled_or_missing_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sql.parse(text)
