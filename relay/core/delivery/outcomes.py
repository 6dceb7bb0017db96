"""Enums of outcomes, push states and failure domains, as stored and as the API and webhooks name them."""

from __future__ import annotations

import enum


class Outcome(enum.StrEnum):
    """The end of a delivery. The API reports the count of each, also where it is 0."""

    DELIVERED = "delivered"
    """APNs accepted the push for the device."""
    FAILED = "failed"
    """APNs or the relay refused it, and another attempt would be refused too."""
    UNREGISTERED = "unregistered"
    """The installation has no active device token: none was registered, or APNs reported that the app is gone."""
    EXPIRED = "expired"
    """The push expired before an attempt succeeded."""
    CANCELLED = "cancelled"
    """The publisher cancelled the push before it was sent to this installation."""


class PushState(enum.StrEnum):
    """The progress of a push, as the API reports it."""

    QUEUED = "queued"
    """No delivery has ended yet."""
    SENDING = "sending"
    """Some deliveries have ended, others are pending."""
    DONE = "done"
    """Every delivery has ended."""
    CANCELLED = "cancelled"
    """The publisher cancelled the push. Deliveries that were under way may still end in another outcome."""


class FailureDomain(enum.StrEnum):
    """The behaviour of pushes to a listed test device. Any but `OK` is simulated, and APNs is not asked."""

    OK = "ok"
    UNREGISTERED = "unregistered"
    BAD_DEVICE_TOKEN = "bad_device_token"
    THROTTLED = "throttled"
    UNAVAILABLE = "unavailable"
    SLOW = "slow"
