"""The reference of all settings, made from relay/settings.py: as Markdown for people, as a JSON Schema for editors.

Names, types, ranges and defaults are those that settings are read by; what a setting does is the text below its field.
"""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from relay import settings as config

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_HEAD = """# Settings

<!-- Made by `push-relay settings`. A test compares: don't edit this, edit the texts in relay/settings.py. -->

Settings are read from a YAML file (`--config`, or the variable `PUSH_RELAY_CONFIG`), then from the environment. Each
one has a variable too: `PUSH_RELAY_` and its path in capitals, with `__` between the parts. The value of a variable is
read as YAML: `false`, `20`, `[a, b]`. What is left out has its default, and an unknown name is an error.

`config/relay.yaml` is an example. `push-relay settings --json` prints a JSON Schema, by which an editor can check such
a file and complete it.
"""


class Setting(NamedTuple):
    """One setting. `path` is its name from the top, such as ("http", "port"); `schema` its JSON Schema."""

    path: tuple[str, ...]
    schema: Mapping[str, Any]

    @property
    def name(self) -> str:
        """As in `http.port`."""
        return ".".join(self.path)

    @property
    def variable(self) -> str:
        """As in `PUSH_RELAY_HTTP__PORT`."""
        return config.PREFIX + "__".join(self.path).upper()


def schema() -> dict[str, Any]:
    """A JSON Schema (2020-12) of the settings file, with a text for every section and every setting."""
    made = msgspec.json.schema(config.Settings)
    texts = _texts()
    for section, definition in made["$defs"].items():
        for field, described in definition["properties"].items():
            if (section, field) in texts:
                described["description"] = texts[section, field]
    return {"$schema": _DIALECT, "title": "Settings of push-relay", **made}


def settings() -> list[Setting]:
    """All settings in the order of relay/settings.py."""
    made = schema()
    return list(_settings(made["$defs"], made, ()))


def markdown() -> str:
    """docs/settings.md: a table for each section."""
    made = schema()
    sections = {name: _section(made["$defs"], field) for name, field in _root(made)["properties"].items()}
    everything = settings()
    parts = [_HEAD, "## At the top\n", _table([one for one in everything if len(one.path) == 1])]
    for name, section in sections.items():
        if section is not None:
            rows = [one for one in everything if one.path[0] == name]
            parts += [f"## {name}\n", f"{_paragraph(section.get('description', ''))}\n", _table(rows)]
    return "\n".join(parts)


def _texts() -> dict[tuple[str, str], str]:
    """What stands below each field in relay/settings.py, by the name of its section's class and its own."""
    found = {}
    for section in ast.parse(inspect.getsource(config)).body:
        if isinstance(section, ast.ClassDef):
            for field, below in zip(section.body, section.body[1:], strict=False):
                match field, below:
                    case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(
                        value=ast.Constant(value=str(text))
                    ):
                        found[section.name, name] = _paragraph(text)
    return found


def _paragraph(text: str) -> str:
    return " ".join(text.split())


def _root(made: Mapping[str, Any]) -> Mapping[str, Any]:
    return _resolved(made["$defs"], made["$ref"])


def _resolved(definitions: Mapping[str, Any], reference: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = definitions[reference.removeprefix("#/$defs/")]
    return found


def _section(definitions: Mapping[str, Any], field: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The section that a field is; None if it is a single setting."""
    return _resolved(definitions, field["$ref"]) if "$ref" in field else None


def _settings(
    definitions: Mapping[str, Any], field: Mapping[str, Any], path: tuple[str, ...]
) -> Iterator[Setting]:
    section = _section(definitions, field)
    if section is None:
        yield Setting(path, field)
        return
    own = field.get("default", {})
    for name, inner in section["properties"].items():
        # A section may have other defaults where it stands: Apple's two hosts are of one kind.
        described = {**inner, "default": own[name]} if own and name in own and "$ref" not in inner else inner
        yield from _settings(definitions, described, (*path, name))


def _table(rows: list[Setting]) -> str:
    lines = ["| setting, variable | values | default | |", "|---|---|---|---|"]
    for one in rows:
        text = one.schema.get("description", "").replace("|", "\\|")
        lines.append(
            f"| `{one.name}`<br>`{one.variable}` | {_values(one.schema)} | {_default(one.schema)} | {text} |"
        )
    return "\n".join(lines) + "\n"


_TYPES = {"integer": "whole number", "number": "number", "string": "text", "boolean": "`true` or `false`"}


def _values(field: Mapping[str, Any]) -> str:
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "anyOf" in field:
        return " or ".join("nothing" if one["type"] == "null" else _values(one) for one in field["anyOf"])
    if field["type"] == "array":
        return f"list of {_values(field['items'])}s" if field["items"].get("type") == "string" else "list"
    return " ".join([_TYPES[field["type"]], *_range(field)])


def _range(field: Mapping[str, Any]) -> Iterator[str]:
    least, above, most = (field.get(name) for name in ("minimum", "exclusiveMinimum", "maximum"))
    if above is not None:
        yield f"above {above:,}"
    elif least is not None:
        yield f"from {least:,}"
    if most is not None:
        yield f"to {most:,}"


def _default(field: Mapping[str, Any]) -> str:
    match field.get("default"):
        case None | "" | []:
            return "–"
        case bool() as flag:
            return f"`{json.dumps(flag)}`"
        case int() | float() as number:
            return f"`{number:g}`" if number < 1_000_000 else f"`{number:.0f}`"
        case str() as text:
            return f"`{text}`"
        case other:
            return f"`{json.dumps(other)}`"
