"""Enums of credentials and API tokens, as stored and as the API names them."""

from __future__ import annotations

import enum


class Environment(enum.StrEnum):
    """Which of Apple's two hosts knows a device token."""

    PRODUCTION = "production"
    SANDBOX = "sandbox"


class CredentialKind(enum.StrEnum):
    """How a credential authenticates to APNs."""

    TOKEN = "token"
    """A `.p8` key that signs provider tokens (JWT)."""
    CERTIFICATE = "certificate"
    """A client certificate of one app."""


class CredentialState(enum.StrEnum):
    """Whether pushes are sent with a credential."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    """APNs refused it, or the operator stopped it. Its pushes wait."""


class TokenKind(enum.StrEnum):
    """What an API token may do; the prefix of its text."""

    PUSH = "push"
    """Sends pushes for one app, and reads them."""
    MANAGE = "manage"
    """Manages what a publisher owns: push tokens, test devices, webhooks."""
    OPERATOR = "operator"
    """Manages the store: publishers, apps, installations, credentials."""
