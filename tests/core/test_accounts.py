"""The stored and shown words of credentials and API tokens."""

from __future__ import annotations

from relay.core.accounts import CredentialKind, CredentialState, Environment, TokenKind


def test_the_words_are_those_of_the_database_and_the_api() -> None:
    assert list(Environment) == ["production", "sandbox"]
    assert list(CredentialKind) == ["token", "certificate"]
    assert list(CredentialState) == ["active", "suspended"]
    assert list(TokenKind) == ["push", "manage", "operator"]
