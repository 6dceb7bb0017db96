"""Enums of credentials and API tokens, as stored and as the API names them."""

from __future__ import annotations

import enum


class Environment(enum.StrEnum):
    """The APNs environment of a device token or credential."""

    PRODUCTION = "production"
    SANDBOX = "sandbox"


class CredentialKind(enum.StrEnum):
    """The form of a credential."""

    TOKEN = "token"
    """A `.p8` key that signs provider tokens (JWT)."""
    CERTIFICATE = "certificate"
    """A client certificate of one app."""


class CredentialState(enum.StrEnum):
    """The state of a credential: pushes are sent with active ones only."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    """APNs refused it, or the operator stopped it. Its pushes wait."""


class TokenKind(enum.StrEnum):
    """The rights of an API token, and the prefix of its text."""

    PUSH = "push"
    """Sends pushes for one app, and reads them."""
    MANAGE = "manage"
    """Manages what a publisher owns: push tokens, test devices, webhooks."""
    OPERATOR = "operator"
    """Manages the store: publishers, apps, installations, credentials."""
