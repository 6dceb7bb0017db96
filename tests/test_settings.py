"""Settings: wrong ones are refused by name, and no refusal shows a secret."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from relay.keys import key_ring
from relay.settings import KeysSettings, Settings, SettingsError, load

SECRET = "5ec2e7" * 8
ROOT = Path(__file__).parents[1]


def read(tmp_path: Path, text: str | bytes, **environ: str) -> Settings:
    path = tmp_path / "relay.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load(path, environ)


def test_the_example_holds_the_defaults() -> None:
    assert load(ROOT / "config" / "relay.yaml", {}) == load(None, {}) == Settings()


NOT_READABLE = [
    f"keys:\n  identifiers: [{SECRET}\n",
    f"database:\n  url: 'postgresql://relay:{SECRET}@db/relay\n",
    f"keys: *{SECRET}",
    f"keys: !!python/{SECRET} x",
    f"keys:\n  udid: !!int {SECRET}",
    f"keys:\n  udid: !!timestamp {SECRET}",
    f"keys:\n  udid: !!binary {SECRET}=x",
    f"keys: {{{SECRET}: {{}}, [1]: 2}}",
    f"keys:\n  udid: \x01{SECRET}",
    f"keys:\n  udid: {SECRET}\xff".encode("latin-1"),
    "[" * 5000,
]
NOT_FITTING = [
    f"[{SECRET}]",
    f"keys: {SECRET}",
    f"keys:\n  identifiers: {SECRET}",
    f"keys:\n  identifiers:\n    {SECRET}: 1",
    f"keys:\n  {SECRET}: 1",
    f"database:\n  url: [{SECRET}]",
    f"database:\n  postgresql://relay:{SECRET}@db/relay:\n",
]


@pytest.mark.parametrize("text", NOT_READABLE + NOT_FITTING)
def test_no_error_shows_the_content_of_the_file(tmp_path: Path, text: str | bytes) -> None:
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, text)
    assert "relay.yaml" in str(caught.value)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("text", NOT_READABLE)
def test_no_error_shows_the_content_of_a_variable_or_the_key_file(tmp_path: Path, text: str | bytes) -> None:
    if isinstance(text, str):
        with pytest.raises(SettingsError) as caught:
            read(tmp_path, "", PUSH_RELAY_KEYS=text)
        assert SECRET not in str(caught.value)
        assert "PUSH_RELAY_KEYS" in str(caught.value)
    path = tmp_path / "keys.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(SettingsError) as caught:
        key_ring(KeysSettings(file=str(path)))
    assert SECRET not in str(caught.value)
    assert str(path) in str(caught.value)


def test_an_error_names_line_and_column(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"relay\.yaml, line 3, column 1: "):
        read(tmp_path, f"keys:\n  identifiers: [{SECRET}\n")


def test_secrets_are_not_in_the_representation(tmp_path: Path) -> None:
    text = f"database:\n  url: postgresql://relay:{SECRET}@db/relay\nkeys:\n  udid: '{SECRET}'\n"
    assert SECRET not in repr(read(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("dispatch: {batch_size: 0}", "dispatch.batch_size"),
        ("dispatch: {batch_size: 10001}", "dispatch.batch_size"),
        ("dispatch: {lease: 0}", "dispatch.lease"),
        ("dispatch: {lease: .nan}", "dispatch.lease"),
        ("dispatch: {lease: .inf}", "dispatch.lease"),
        ("dispatch: {poll: -1}", "dispatch.poll"),
        ("dispatch: {settle_interval: 0}", "dispatch.settle_interval"),
        ("dispatch: {settle_rows: 1000}", "settle_rows"),
        ("dispatch: {retry_first: 0}", "dispatch.retry_first"),
        ("dispatch: {retry_first: 60, retry_longest: 30}", "retry_longest"),
        ("dispatch: {in_flight: 0}", "dispatch.in_flight"),
        ("dispatch: {in_flight: 1999, batch_size: 1000}", "in_flight"),
        ("dispatch: {keep: 0}", "dispatch.keep"),
        ("dispatch: {immediate_window: 0}", "dispatch.immediate_window"),
        ("dispatch: {keep: 172800}\nretention_days: 2", "dispatch.keep"),
        ("retention_days: 1", "dispatch.keep"),
        ("retention_days: 0", "retention_days"),
        ("apns: {connect_timeout: 0}", "apns.connect_timeout"),
        ("apns: {response_timeout: 0}", "apns.response_timeout"),
        ("apns: {max_connections: 0}", "apns.max_connections"),
        ("apns: {production: {host: a, port: 65536}}", "apns.production.port"),
        ("http: {port: -1}", "http.port"),
        ("http: {max_body: 0}", "http.max_body"),
        ("http: {max_connections: 0}", "http.max_connections"),
        ("http: {header_timeout: 0}", "http.header_timeout"),
        ("http: {body_timeout: -1}", "http.body_timeout"),
        ("http: {answer_timeout: .inf}", "http.answer_timeout"),
        ("database: {connections: 0}", "database.connections"),
        ("log: loud", "log"),
    ],
)
def test_a_number_out_of_its_range_is_refused_by_name(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        read(tmp_path, text)


def test_numbers_at_their_bounds_are_accepted(tmp_path: Path) -> None:
    for text in (
        "dispatch: {batch_size: 1, in_flight: 4}",
        "dispatch: {batch_size: 10000, in_flight: 20000}",
        "dispatch: {keep: 172799}\nretention_days: 2",
        "http: {port: 0}",
    ):
        read(tmp_path, text)


def test_the_default_timeouts_toward_apple() -> None:
    apns = Settings().apns
    assert (apns.connect_timeout, apns.response_timeout) == (10.0, 30.0)


def test_a_key_file_without_a_key_for_addresses_uses_the_udid_key(tmp_path: Path) -> None:
    """An earlier version wrote no such key. All relays of a store must derive one key without a change of the file."""
    path = tmp_path / "keys.yaml"
    ring = key_ring(KeysSettings(file=str(path)))
    assert ring.of_aliases == ring.alias != ring.udid
    path.write_text("".join(line for line in path.read_text().splitlines(True) if "alias" not in line))
    assert key_ring(KeysSettings(file=str(path))).of_aliases == ring.udid
    path.write_text(path.read_text() + "alias: short\n")
    with pytest.raises(SettingsError, match="32 characters"):
        key_ring(KeysSettings(file=str(path)))
