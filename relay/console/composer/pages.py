"""The composer's pages: write a push, preview it, test it on devices, and send it.

Drafts are checked and sent by the code of `/v1.0/validate/` and `/v1.0/send/`. A publisher needs no push token here,
because it could create one for itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import msgspec
from aiohttp import web

from relay.console.composer.editors import move_to_notification, move_to_payload
from relay.console.composer.fields import FIELDS_BY_EDITOR, Audience
from relay.console.composer.form import Draft, build_body, read_draft
from relay.console.composer.preview import NO_RECIPIENTS, DraftPreview, Previewer
from relay.console.composer.remarks import Remark, remarks_by_field
from relay.console.composer.sending import DraftSender
from relay.console.composer.state import ComposerState
from relay.console.formatting import pluralise
from relay.console.forms import read_form
from relay.console.paths import push_path
from relay.console.publisher.app_lookup import AppLookup
from relay.console.publisher.outcome_bar import BAR_WIDTH
from relay.console.publisher.push_view import load_push_view
from relay.console.resources import PageResources
from relay.console.routes import publisher_route
from relay.console.visitors import PublisherVisitor
from relay.core.errors import RelayError
from relay.core.push.push_types import PUSH_TYPES
from relay.core.push.request import Accepted
from relay.service.reach import MAX_COUNTED_TARGETS
from relay.service.sending import SendingServices
from relay.store.accounts.test_devices import TestDeviceInApp, TestDeviceRepository

_KEY = re.compile(r"[0-9a-f]{32}")
_OPTIONS = {
    "push_types": [("", "Derived from the payload"), *((name, name) for name in PUSH_TYPES)],
    "priorities": [
        ("", "Default"),
        ("10", "10: at once"),
        ("5", "5: saves battery"),
        ("1", "1: never wakes the device"),
    ],
    "levels": [
        ("", "Default"),
        ("passive", "Passive: added to the list silently"),
        ("active", "Active: shown at once"),
        ("time-sensitive", "Time sensitive: breaks through Focus"),
        ("critical", "Critical: sounds on a muted device"),
    ],
    "synchronising": [("", "Default: yes if it opens a record"), ("true", "Yes"), ("false", "No")],
}
"""Options of the choices, as (value, text)."""
_NO_TEST_DEVICES = "None of your test devices has this app."
_DATA_WOULD_BE_LOST = "Some of this cannot be written as JSON without loss: fix it first."
_TOO_MUCH_FOR_FIELDS = "The form fields cannot express this whole payload, so it stays as JSON."


class ComposerPages:
    """`/console/apps/{app_id}/compose/`."""

    def __init__(self, resources: PageResources, services: SendingServices) -> None:
        self._renderer = resources.renderer
        self._database = resources.database
        self._app_lookup = AppLookup(resources.database)
        self._test_devices = TestDeviceRepository(resources.database)
        self._sender = DraftSender(services, resources.random)
        self._previewer = Previewer(services.check, resources.database)
        self._validation_rates = services.validation_rates

    def routes(self) -> Iterable[web.RouteDef]:
        """Return the routes with their handlers."""
        yield publisher_route("GET", "apps/{app_id}/compose/", self.show_empty)
        yield publisher_route("POST", "apps/{app_id}/compose/", self.press_button)
        yield publisher_route("POST", "apps/{app_id}/compose/preview/", self.show_preview)

    async def show_empty(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """Show an empty form. The query parameter `to` names a recipient."""
        app = await self._app_lookup.get_app(request, visitor)
        state = ComposerState(visitor, app, Draft(), self._sender.create_key())
        if "to" in request.query:
            state.draft = Draft(texts={"recipients": request.query["to"]})
        return await self._render(request, state, self._previewer.draw(state))

    async def show_preview(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """Return the preview and the remarks, as parts of the page for htmx."""
        state, _ = await self._read_state(request, visitor)
        try:
            self._validation_rates.count_request(state.token)
            preview = await self._previewer.check(state)
        except RelayError as error:
            preview = self._previewer.draw_refusal(state, error)
        context = _context(state, preview, is_part=True)
        return self._renderer.render_page(request, "composer_preview.html", 200, **context)

    async def press_button(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """Carry out the button that was pressed, and show the page or redirect to the push that was sent."""
        state, button = await self._read_state(request, visitor)
        if button in ("as_payload", "as_notification"):
            _switch_editor(state, button)
        elif button == "test":
            await self._send_to_test_devices(state)
        elif button == "send" and state.draft.audience == Audience.EVERYONE:
            state.asks_confirmation = True
        elif button in ("send", "confirm"):
            body, unreadable = build_body(state.draft, state.app.app_id)
            accepted = await self._sender.send_body(state, body, unreadable)
            if accepted is not None:
                path = push_path(state.app.app_id, accepted.push_id)
                return self._renderer.redirect(request, path, _acceptance_text(accepted))
        return await self._render(request, state, await self._preview_with_results(state))

    async def _read_state(self, request: web.Request, visitor: PublisherVisitor) -> tuple[ComposerState, str]:
        """Return the state of the posted form and the button that was pressed, "" if none was."""
        app = await self._app_lookup.get_app(request, visitor)
        form = await read_form(request)
        pairs = [(name, text) for name, text in (await request.post()).items() if isinstance(text, str)]
        key = form.get("key", "")
        key = key if _KEY.fullmatch(key) else self._sender.create_key()
        return ComposerState(visitor, app, read_draft(pairs), key), form.get("do", "")

    async def _send_to_test_devices(self, state: ComposerState) -> None:
        """Send the draft to the test devices that have the app, and load the push for the page."""
        app_id = state.app.app_id
        devices = await self._test_devices.list_test_devices_with_app(state.visitor.publisher_id, app_id)
        if not devices:
            state.status = 422
            state.remarks.append(Remark("test", _NO_TEST_DEVICES))
            return
        body, unreadable = build_body(state.draft, app_id)
        unreadable = [remark for remark in unreadable if remark.field != "recipients"]
        test_body = {**body, "destinations": _destinations(devices), "debug": True}
        accepted = await self._sender.send_body(state, test_body, unreadable)
        if accepted is not None:
            state.idempotency_key = self._sender.create_key()
            state.tested_push = await load_push_view(self._database, app_id, accepted.push_id)

    async def _preview_with_results(self, state: ComposerState) -> DraftPreview:
        """Return the preview with the remarks of the pressed button before those of the check."""
        try:
            preview = await self._previewer.check(state, count_everyone=state.asks_confirmation)
        except RelayError as error:
            preview = self._previewer.draw_refusal(state, error)
        if any(remark.is_error for remark in preview.remarks):
            state.asks_confirmation = False
        remarks = dict.fromkeys([*state.remarks, *preview.remarks])
        if any(remark.field == NO_RECIPIENTS.field for remark in state.remarks):
            remarks.pop(NO_RECIPIENTS, None)
        return replace(preview, remarks=[*remarks])

    async def _render(
        self, request: web.Request, state: ComposerState, preview: DraftPreview
    ) -> web.StreamResponse:
        devices = await self._test_devices.list_test_devices_with_app(
            state.visitor.publisher_id, state.app.app_id
        )
        context = _context(state, preview, is_part=False)
        response = self._renderer.render_page(
            request, "composer.html", state.status, **context, devices=devices
        )
        if "Retry-After" in state.headers:
            response.headers["Retry-After"] = state.headers["Retry-After"]
        return response


def _context(state: ComposerState, preview: DraftPreview, *, is_part: bool) -> dict[str, Any]:
    """Return the variables of the templates. `is_part` is True if only the preview is rendered, for htmx."""
    return {
        "section": "compose",
        "shown_app": state.app,
        "app": state.app,
        "draft": state.draft,
        "key": state.idempotency_key,
        "preview": preview,
        "remarks": remarks_by_field(preview.remarks),
        "is_part": is_part,
        "asks_confirmation": state.asks_confirmation,
        "push": state.tested_push,
        "max_counted": MAX_COUNTED_TARGETS,
        **_OPTIONS,
        "bar_width": BAR_WIDTH,
        "field_names": FIELDS_BY_EDITOR[state.draft.editor],
    }


def _switch_editor(state: ComposerState, button: str) -> None:
    """Move the draft to the other editor, or note why it stays."""
    to_payload = button == "as_payload"
    moved = move_to_payload(state.draft) if to_payload else move_to_notification(state.draft)
    if moved is not None:
        state.draft = moved
    elif to_payload:
        state.remarks.append(Remark("data", _DATA_WOULD_BE_LOST))
    else:
        state.remarks.append(Remark("payload", _TOO_MUCH_FOR_FIELDS, is_error=False))


def _destinations(devices: Iterable[TestDeviceInApp]) -> dict[str, list[str]]:
    destinations: dict[str, list[str]] = {}
    for device in devices:
        destinations.setdefault(device.customer, []).append(device.device)
    return destinations


def _acceptance_text(accepted: Accepted) -> str:
    """Return the message for the page of a push that was accepted."""
    answer = msgspec.json.decode(accepted.answer)
    if answer["targets"] is None:
        return "Accepted. The push goes to all copies of the app."
    text = f"Accepted for {pluralise(answer['targets'], 'copy', 'copies')}."
    warnings = len(answer["warnings"])
    return f"{text} There were {pluralise(warnings, 'warning', 'warnings')}." if warnings else text
