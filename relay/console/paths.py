"""Paths of console pages, relative to `BASE_PATH`."""

from __future__ import annotations

from uuid import UUID

BASE_PATH = "/console/"
"""The path of the console and of its cookies."""
STATIC_PATH = f"{BASE_PATH}static/"


def app_path(app_id: str, rest: str = "") -> str:
    """Return the path of an app's page; `rest` names the page below it, such as "tokens/"."""
    return f"apps/{app_id}/{rest}"


def push_path(app_id: str, push_id: UUID) -> str:
    """Return the path of a push."""
    return app_path(app_id, f"pushes/{push_id}/")


def publisher_path(publisher_id: UUID) -> str:
    """Return the path of a publisher's page, which only operators see."""
    return f"publishers/{publisher_id}/"
