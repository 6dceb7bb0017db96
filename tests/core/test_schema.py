"""Field patterns, path segments, and the conversion of JSON values into structs."""

from __future__ import annotations

import contextlib
import re
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core import schema
from relay.core.delivery.outcomes import FailureDomain
from relay.core.errors import Fault, Invalid, MalformedRequest, NotFound
from relay.core.schema import (
    WORDS,
    app_id_in_path,
    convert,
    number_in_path,
    token_kind_in_query,
    uuid_in_path,
)

UUID_TEXT = "1b7d4f0a-2c3e-4d5f-8a9b-0c1d2e3f4a5b"


class Inner(msgspec.Struct):
    number: int = 0


class Body(msgspec.Struct, forbid_unknown_fields=True):
    name: schema.Name
    app_id: schema.AppIdText = "app"
    count: int = 0
    domain: FailureDomain = FailureDomain.OK
    inner: list[Inner] = []
    by_key: dict[str, int] = {}


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ({"name": "x", "a/b": 1}, Fault("unknown_field", "/a~1b", "Object contains unknown field `a/b`.")),
        ({}, Fault("missing_field", "/name", "Object missing required field `name`.")),
        ({"name": 5}, Fault("wrong_type", "/name", "Expected `str`, got `int`.")),
        ({"name": "\n"}, Fault("invalid_value", "/name", f"Expected {WORDS[schema._LINE]}.")),
        (
            {"name": "x", "app_id": "-"},
            Fault("invalid_value", "/app_id", "Expected 1 to 64 letters and digits."),
        ),
        ({"name": "x" * 201}, Fault("invalid_value", "/name", "Expected `str` of length <= 200.")),
        ({"name": "x", "domain": "no"}, Fault("invalid_value", "/domain", "Invalid enum value 'no'.")),
        ({"name": "x", "count": 1.5}, Fault("wrong_type", "/count", "Expected `int`, got `float`.")),
        (
            {"name": "x", "inner": [{}, {"number": "1"}]},
            Fault("wrong_type", "/inner/1/number", "Expected `int`, got `str`."),
        ),
        ([], Fault("wrong_type", "", "Expected `object`, got `array`.")),
    ],
)
def test_a_wrong_body_names_its_field(value: Any, fault: Fault) -> None:
    with pytest.raises(Invalid) as refused:
        convert(value, Body)
    assert refused.value.faults == (fault,)


def test_a_number_without_fraction_is_an_integer() -> None:
    body = convert({"name": "x", "count": 5.0}, Body)
    assert (body.count, type(body.count)) == (5, int)
    assert convert(7, int) == 7


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (schema._LINE, ["a", "ä b"], ["", "a\n", "\x00", "\x1f", "\x7f"]),
        (schema._LABEL, ["", "a b"], ["a\n", "\x00", "\x7f"]),
        (schema._APP_ID, ["a", "A1" * 32], ["", "a" * 65, "a-b", "a\n", "ä"]),
        (schema._TEN, ["TEAM000001"], ["TEAM00001", "TEAM0000012", "team000001", "TEAM000001\n"]),
        (schema._BUNDLE_ID, ["a", "com.example.a-b"], ["", ".a", "a.", "a..b", "a_b", "a\n"]),
        (schema._ALONGSIDE, ["", "abc12"], ["abc123", "a-b", "a\n"]),
        (schema._UUID, [UUID_TEXT, UUID_TEXT.upper()], [UUID_TEXT.replace("-", ""), f"{UUID_TEXT}\n", "x"]),
        (schema._HEX_BYTES, ["aB" * 8, "00" * 100], ["00" * 7, "00" * 101, "000" * 9, "00" * 8 + "\n"]),
        (
            schema._KIND,
            [
                *("apns", "voip", "complication", "fileprovider", "mdm", "location", "pushtotalk", "widgets"),
                *("controls", "liveactivity", "liveactivity-start", "liveactivity:A.b_c-9"),
                "liveactivity:" + "x" * 64,
            ],
            ["", "liveactivity:", "liveactivity:" + "x" * 65, "liveactivity:a b", "apns\n", "alert"],
        ),
        (schema._URL, ["https://a", "http://a/?q=1"], ["ftp://a", "https://", "https://a b", "https://ä"]),
        (schema._PEM, ["-----BEGIN\r\n\tx"], ["", "\x00", "ä"]),
    ],
)
def test_the_patterns_of_fields(pattern: str, good: list[str], bad: list[str]) -> None:
    assert [text for text in good if re.search(pattern, text, re.ASCII) is None] == []
    assert [text for text in bad if re.search(pattern, text, re.ASCII) is not None] == []


def test_every_pattern_refuses_a_line_feed_at_the_end_and_has_words() -> None:
    assert all(pattern.endswith(r"\Z") and words for pattern, words in WORDS.items())


def test_a_uuid_in_a_path() -> None:
    assert uuid_in_path(UUID_TEXT) == uuid_in_path(UUID_TEXT.upper()) == UUID(UUID_TEXT)


@pytest.mark.parametrize("text", ["", "x", UUID_TEXT.replace("-", ""), f"{{{UUID_TEXT}}}", f"{UUID_TEXT}\n"])
def test_there_is_nothing_at_a_path_without_a_uuid(text: str) -> None:
    with pytest.raises(NotFound):
        uuid_in_path(text)


@pytest.mark.parametrize(("text", "number"), [("1", 1), ("42", 42), ("9" * 18, 10**18 - 1)])
def test_a_number_in_a_path(text: str, number: int) -> None:
    assert number_in_path(text) == number


@pytest.mark.parametrize("text", ["", "0", "01", "-1", "1.0", "9" * 19, "1\n", "١"])
def test_there_is_nothing_at_a_path_without_a_number(text: str) -> None:
    with pytest.raises(NotFound):
        number_in_path(text)


def test_an_app_id_in_a_path() -> None:
    assert app_id_in_path("chess") == "chess"
    for text in ("", "a-b", "a" * 65, "chess\n"):
        with pytest.raises(NotFound):
            app_id_in_path(text)


def test_a_kind_of_device_token_in_a_query() -> None:
    assert token_kind_in_query("voip") == "voip"
    with pytest.raises(MalformedRequest, match=r"^kind must be apns, voip, .*\.$"):
        token_kind_in_query("alert")


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner)
                    | st.dictionaries(st.text(), inner), max_leaves=8))  # fmt: skip
def test_any_json_value_is_converted_or_refused(value: Any) -> None:
    with contextlib.suppress(Invalid):
        convert(value, Body)


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        (schema.Name, "x" * 200, ["", "x" * 201, "\n"]),
        (schema.Label, "x" * 200, ["x" * 201, "\n"]),
        (schema.AppIdText, "chess", ["", "a-b"]),
        (schema.TeamId, "TEAM000001", ["TEAM00001"]),
        (schema.KeyId, "KEY0000001", ["KEY000001"]),
        (schema.BundleId, "a" * 155, ["a" * 156, "a..b"]),
        (schema.CustomerReference, "x" * 200, ["", "x" * 201]),
        (schema.Alongside, "", ["abc123"]),
        (schema.Address, "a" * 252 + "@b", ["a" * 253 + "@b", "a@b@c", "x"]),
        (schema.Udid, "a" * 40, ["a" * 39]),
        (schema.UuidText, UUID_TEXT, ["x"]),
        (schema.AppVersion, "x" * 100, ["x" * 101, "\n"]),
        (schema.DeviceToken, "00" * 32, ["00" * 7]),
        (schema.DeviceTokenKind, "voip", ["alert"]),
        (schema.WebhookUrl, "https://" + "x" * 1992, ["https://" + "x" * 1993, "ftp://x"]),
        (schema.Pem, "x" * 65_536, ["x" * 65_537, "ä"]),
    ],
)
def test_the_limits_of_fields(field: Any, good: str, bad: list[str]) -> None:
    assert convert(good, field) == good
    for text in bad:
        with pytest.raises(Invalid):
            convert(text, field)
