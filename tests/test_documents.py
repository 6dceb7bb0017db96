"""The files, headings and commands that the documents name exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from typer.main import get_command

from relay.cli.main import app

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *(file for folder in ("apns_standin", "bench", "chaos") for file in ROOT.glob(f"{folder}/*.md")),
    ],
)
NAMED = re.compile(
    r"`((?:[a-z0-9_.-]+/)+[a-z0-9_.*-]+\.(?:md|py|yaml|yml|conf|json|sql|service|txt))`", re.IGNORECASE
)
"""A file of the repository that is named in passing, as in `docs/design.md`."""
HEADED = re.compile(r"`((?:docs/)?[a-z]+\.md)`, \"([^\"]+)\"")
"""A heading that is named in passing, as in `docs/operating.md`, "Backup"."""
COMMAND = re.compile(r"(?<![/\w-])push-relay ([a-z][a-z0-9-]*(?: [a-z][a-z0-9-]*)*)")
"""A command as it is typed, with the words after it, which may be arguments."""


@cache
def tokens(document: Path) -> list[Token]:
    parsed = MarkdownIt("commonmark").enable("table").parse(document.read_text("utf-8"))
    return [token for block in parsed for token in (block, *(block.children or ()))]


@cache
def anchors(document: Path) -> frozenset[str]:
    """Return the anchors of headings as GitHub makes them: lower case, dashes, and a number for a repeated one."""
    counts: dict[str, int] = {}
    for before, token in zip(tokens(document), tokens(document)[1:], strict=False):
        if before.type == "heading_open":
            text = "".join(
                part.content for part in token.children or () if part.type in {"text", "code_inline"}
            )
            slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            count = counts.get(slug, -1) + 1
            counts[slug] = count
            if count:
                counts[f"{slug}-{count}"] = 0
    return frozenset(counts)


def headings(document: Path) -> set[str]:
    return {
        token.content
        for before, token in zip(tokens(document), tokens(document)[1:], strict=False)
        if before.type == "heading_open"
    }


def links(document: Path) -> Iterator[str]:
    for token in tokens(document):
        target = token.attrGet("href") or token.attrGet("src")
        if target is not None and re.match(r"[a-z][a-z0-9+.-]*:", str(target)) is None:
            yield str(target)


def documents() -> list[object]:
    return [pytest.param(document, id=str(document.relative_to(ROOT))) for document in DOCUMENTS]


@pytest.mark.parametrize("document", documents())
def test_link_targets_exist(document: Path) -> None:
    broken = []
    for link in links(document):
        path, _, anchor = unquote(link).partition("#")
        target = (document.parent / path).resolve() if path else document
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("document", documents())
def test_named_files_exist(document: Path) -> None:
    """Paths are relative to the root, the document, `relay/` or `tests/`. Files of a running relay are left out."""
    places = (ROOT, document.parent, ROOT / "relay", ROOT / "tests")
    named = {
        name for name in NAMED.findall(document.read_text("utf-8")) if not name.startswith(("var/", "etc/"))
    }
    absent = {name for name in named if not any(any(place.glob(name)) for place in places)}
    assert not absent


@pytest.mark.parametrize("document", documents())
def test_named_headings_exist(document: Path) -> None:
    text = " ".join(document.read_text("utf-8").split())
    absent = [
        (name, heading)
        for name, heading in HEADED.findall(text)
        if heading not in headings(ROOT / "docs" / Path(name).name)
    ]
    assert not absent


def test_anchors_in_the_configuration_exist() -> None:
    for file in (ROOT / "config").iterdir():
        for path, anchor in re.findall(r"(docs/[a-z]+\.md)#([a-z0-9-]+)", file.read_text("utf-8")):
            assert anchor in anchors(ROOT / path), f"{file.name}: {path}#{anchor}"


@pytest.mark.parametrize("document", documents())
def test_named_commands_exist(document: Path) -> None:
    absent = []
    for words in COMMAND.findall(document.read_text("utf-8")):
        command: object = get_command(app)
        for word in words.split():
            inner = getattr(command, "commands", None)
            if inner is None:
                break  # the words after it are arguments
            command = inner.get(word)
        if command is None:
            absent.append(words)
    assert not absent


def test_the_readme_names_every_document() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    for document in (ROOT / "docs").glob("*.md"):
        assert f"docs/{document.name}" in readme
