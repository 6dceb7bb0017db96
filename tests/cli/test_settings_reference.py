"""The reference of settings: every setting has a description, and docs/settings.md is up to date."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from relay.cli.main import app
from relay.cli.settings_reference import Setting, schema, settings
from relay.settings import Settings, load

ROOT = Path(__file__).parents[2]


def print_settings(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["settings", *arguments])
    assert done.exit_code == 0
    return done.output


def test_the_page_is_up_to_date() -> None:
    page = (ROOT / "docs" / "settings.md").read_text("utf-8")
    assert page == print_settings(), "write it again: push-relay settings > docs/settings.md"


@pytest.mark.parametrize("setting", settings(), ids=lambda setting: setting.name)
def test_a_setting_has_a_description(setting: Setting) -> None:
    assert len(setting.schema.get("description", "")) > 5, "relay/settings.py has no text below it"
    assert setting.schema["description"].endswith(".")


@pytest.mark.parametrize("setting", settings(), ids=lambda setting: setting.name)
def test_the_variable_of_a_setting_is_read(setting: Setting) -> None:
    """A variable with the default changes nothing. The settings of a host are set together."""
    together = [
        other
        for other in settings()
        if other == setting or (len(setting.path) == 3 and other.path[:2] == setting.path[:2])
    ]
    environ = {other.variable: json.dumps(other.schema["default"]) for other in together}
    assert load(None, environ) == Settings()


def test_the_example_fits_the_schema() -> None:
    document = json.loads(print_settings("--json"))
    assert document == json.loads(json.dumps(schema()))
    jsonschema.Draft202012Validator.check_schema(document)
    example = yaml.safe_load((ROOT / "config" / "relay.yaml").read_text("utf-8"))
    jsonschema.validate(example, document)
    for wrong in ({"htttp": {}}, {"http": {"port": 65_536}}, {"log": "loud"}, {"database": {"uri": ""}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, document)
