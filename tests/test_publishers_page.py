"""docs/publishers.md: its programs compile, its bodies are JSON, and its paths are those of the API."""

from __future__ import annotations

import ast
import json
import re
import textwrap
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "publishers.md").read_text("utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
CURL = re.compile(r'curl -sS (?:-X ([A-Z]+) )?"\$RELAY(/v1\.0/[^"]*)"(.*)')
HEREDOC = re.compile(r"<<END\n(.*?)\n *END", re.DOTALL)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_compiles(program: str) -> None:
    compile(
        f"async def main():\n{textwrap.indent(program, '    ')}", "publishers.md", "exec", ast.PyCF_ONLY_AST
    )


def test_the_bodies_are_json() -> None:
    bodies = HEREDOC.findall(PAGE) + re.findall(r"--json '(.*?)'$", PAGE, re.MULTILINE)
    assert len(bodies) > 15
    for body in bodies:
        json.loads(re.sub(r"\$\(.*?\)", "0", body.replace("'$APP'", "x")))


def test_the_paths_are_those_of_the_api() -> None:
    document = yaml.safe_load((ROOT / "openapi" / "openapi.yaml").read_text("utf-8"))
    templates = {
        re.compile(re.sub(r"\{[^}]*\}", "[^/]+", path)): {method.upper() for method in operations}
        for path, operations in document["paths"].items()
    }
    shown = CURL.findall(PAGE)
    assert len(shown) > 20
    for method, path, rest in shown:
        used_method = method or ("POST" if "--json" in rest else "GET")
        matching = [methods for template, methods in templates.items() if template.fullmatch(path)]
        assert any(used_method in methods for methods in matching), f"{used_method} {path}"
