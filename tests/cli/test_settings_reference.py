"""The reference of settings: every one of them is in it, with what it does, and docs/settings.md is that of today."""

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


def printed(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["settings", *arguments])
    assert done.exit_code == 0
    return done.output


def test_the_page_is_that_of_today() -> None:
    page = (ROOT / "docs" / "settings.md").read_text("utf-8")
    assert page == printed(), "make it anew: push-relay settings > docs/settings.md"


@pytest.mark.parametrize("setting", settings(), ids=lambda setting: setting.name)
def test_a_setting_says_what_it_does(setting: Setting) -> None:
    assert len(setting.schema.get("description", "")) > 5, "relay/settings.py has no text below it"
    assert setting.schema["description"].endswith(".")


@pytest.mark.parametrize("setting", settings(), ids=lambda setting: setting.name)
def test_the_variable_of_a_setting_is_read(setting: Setting) -> None:
    """With its default it changes nothing. What belongs to a host is named together with it."""
    together = [
        one
        for one in settings()
        if one == setting or (len(setting.path) == 3 and one.path[:2] == setting.path[:2])
    ]
    environ = {one.variable: json.dumps(one.schema["default"]) for one in together}
    assert load(None, environ) == Settings()


def test_the_example_fits_the_schema() -> None:
    made = json.loads(printed("--json"))
    assert made == json.loads(json.dumps(schema()))
    jsonschema.Draft202012Validator.check_schema(made)
    example = yaml.safe_load((ROOT / "config" / "relay.yaml").read_text("utf-8"))
    jsonschema.validate(example, made)
    for wrong in ({"htttp": {}}, {"http": {"port": 65_536}}, {"log": "loud"}, {"database": {"uri": ""}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, made)
