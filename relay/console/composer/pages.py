"""The composer: a push is written, looked at, tried on test devices, and sent.

Checked and sent as `/v1.0/validate/` and `/v1.0/send/` do it, by the same code. What the API asks of a push token the
publisher may do here by itself: it could make itself such a token.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
from aiohttp import web

from relay.console.composer import form as composing
from relay.console.composer.form import Draft, Remark, by_field, remarks_of
from relay.console.composer.lock_screen import Picture, picture
from relay.console.publisher.app_lookup import OwnApps
from relay.console.publisher.pushes import PushView, push_path, view_of
from relay.console.publisher.timelines import WIDTH
from relay.console.renderer import Pages
from relay.console.sessions import PublisherVisitor, publisher_page, read_form
from relay.core.clock import Random
from relay.core.errors import Invalid, RelayError
from relay.core.idempotency import IdempotencyDigests
from relay.core.ids import AppId
from relay.core.push import payload as payloads
from relay.core.push.content import draft_content
from relay.core.push.push_types import PUSH_TYPES
from relay.core.push.request import Accepted, SendBody
from relay.service.rate_limits import Rates
from relay.service.reach import MAX_COUNTED_TARGETS, count_reach
from relay.service.submission import Submitter
from relay.service.validation import SendCheck
from relay.store.accounts.api_tokens import PushToken
from relay.store.accounts.apps import App
from relay.store.accounts.test_devices import TestDeviceInApp, TestDeviceRepository
from relay.store.database import Database

_KEY = re.compile(r"[0-9a-f]{32}")
_OPTIONS = {
    "push_types": [("", "As the payload says"), *((name, name) for name in PUSH_TYPES)],
    "priorities": [
        ("", "As usual"),
        ("10", "10, at once"),
        ("5", "5, to spare the battery"),
        ("1", "1, never wakes the device"),
    ],
    "levels": [
        ("", "As usual"),
        ("passive", "Passive: into the list, in silence"),
        ("active", "Active: as usual"),
        ("time-sensitive", "Time sensitive: through Focus"),
        ("critical", "Critical: through a muted device"),
    ],
    "synchronising": [("", "As usual: if it opens a record"), ("true", "Yes"), ("false", "No")],
}
"""What can be chosen: (value, words)."""
_REUSED = "idempotency_key_reused"
_NOBODY = Remark("recipients", "Nobody is named yet.", is_error=False)


@dataclass(frozen=True, slots=True)
class SendingDoor:
    """Where pushes are checked and taken in, as the API does it. `sends`, `looks`: rates of sending and validating."""

    check: SendCheck
    submitter: Submitter
    digests: IdempotencyDigests
    sends: Rates
    looks: Rates


@dataclass(frozen=True, slots=True, repr=False)
class Look:
    """What a draft comes to. `targets` and `skipped` are None where nothing can be said, or was not counted."""

    picture: Picture
    push_type: str
    size: int
    limit: int
    remarks: Sequence[Remark] = ()
    targets: int | None = None
    skipped: int | None = None


@dataclass(slots=True, repr=False)
class _ComposerState:
    """A page of the composer that is being made: whose, for which app, and what lies on it."""

    visitor: PublisherVisitor
    app: App
    draft: Draft
    key: str
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    remarks: list[Remark] = field(default_factory=list)
    asks: bool = False
    """Whether to ask before it goes to everybody."""
    tried: PushView | None = None
    """The push that has gone to the test devices from this page."""

    @property
    def token(self) -> PushToken:
        """What the publisher sends with: its own token, with the rights of a push token that may do everything."""
        return PushToken(
            self.visitor.token.token_id,
            self.visitor.publisher_id,
            AppId(self.app.app_id),
            test_only=False,
            broadcast=True,
            expires_at=self.visitor.token.expires_at,
        )

    def note(self, error: RelayError) -> None:
        """Something was refused: what stands on the page stays there."""
        self.status, self.headers = error.status, error.headers
        self.remarks += remarks_of(error.faults, is_error=True)


class ComposerPages:
    """`/console/apps/{app_id}/compose/`."""

    def __init__(self, pages: Pages, database: Database, door: SendingDoor, random: Random) -> None:
        self._pages = pages
        self._database = database
        self._own_apps = OwnApps(database)
        self._test_devices = TestDeviceRepository(database)
        self._door = door
        self._random = random

    def routes(self) -> Iterable[web.RouteDef]:
        """The composer's pages."""
        yield publisher_page("GET", "apps/{app_id}/compose/", self.begin)
        yield publisher_page("POST", "apps/{app_id}/compose/", self.act)
        yield publisher_page("POST", "apps/{app_id}/compose/preview/", self.preview)

    async def begin(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """An empty form."""
        desk = _ComposerState(visitor, await self._own_apps.of(request, visitor), Draft(), self._new_key())
        if "to" in request.query:  # from the page of a customer
            desk.draft = Draft(texts={"recipients": request.query["to"]})
        return await self._page(request, desk, replace(self._drawn(desk), remarks=()))

    async def preview(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """The picture, and what is to be said at the fields: parts of the page, for htmx."""
        desk, _ = await self._desk(request, visitor)
        try:
            self._door.looks.take(desk.token)
            look = await self._look(desk)
        except RelayError as error:
            look = replace(self._drawn(desk), remarks=remarks_of(error.faults, is_error=True))
        return self._pages.render(request, "composer_preview.html", 200, **_context(desk, look, is_part=True))

    async def act(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """What one of the form's buttons asks for: `do` is its value."""
        desk, wanted = await self._desk(request, visitor)
        if wanted in ("as_payload", "as_notification"):
            self._move(desk, wanted)
        elif wanted == "test":
            await self._try(desk)
        elif wanted == "send" and desk.draft.audience == composing.EVERYONE:
            desk.asks = True
        elif wanted in ("send", "confirm"):
            body, unread = composing.body_of(desk.draft, desk.app.app_id)
            accepted = await self._send(desk, body, unread)
            if accepted is not None:
                path = push_path(desk.app.app_id, accepted.push_id)
                return self._pages.redirect(request, path, _said(accepted))
        return await self._page(request, desk, await self._look_after(desk))

    # --- what the buttons do ---

    def _move(self, desk: _ComposerState, wanted: str) -> None:
        """To the other editor, if nothing is lost by it."""
        move = composing.as_payload if wanted == "as_payload" else composing.as_notification
        moved = move(desk.draft)
        if moved is not None:
            desk.draft = moved
        elif wanted == "as_payload":
            desk.remarks.append(Remark("data", "Something here would be lost: mend it first."))
        else:
            detail = "The fields can't say all that stands here, so it stays as it is."
            desk.remarks.append(Remark("payload", detail, is_error=False))

    async def _try(self, desk: _ComposerState) -> None:
        """Send to the test devices that have the app, and stay here."""
        devices = await self._test_devices.list_test_devices_with_app(
            desk.visitor.publisher_id, desk.app.app_id
        )
        if not devices:
            desk.status = 422
            desk.remarks.append(Remark("test", "None of your test devices has this app."))
            return
        body, unread = composing.body_of(desk.draft, desk.app.app_id)
        unread = [remark for remark in unread if remark.field != "recipients"]
        accepted = await self._send(
            desk, {**body, "destinations": _destinations(devices), "debug": True}, unread
        )
        if accepted is not None:
            desk.key = self._new_key()
            desk.tried = await view_of(self._database, desk.app.app_id, accepted.push_id)

    async def _send(
        self, desk: _ComposerState, body: dict[str, Any], unread: Sequence[Remark]
    ) -> Accepted | None:
        """Send, as the API does. None: it was refused, and the desk says why."""
        if unread:
            desk.status = 422
            return None
        try:
            self._door.sends.take(desk.token)
            # json takes whatever it is: a number too large for others, half a character.
            sent = json.dumps(body).encode()
            key = self._door.digests.of([desk.key], desk.token.token_id, sent)
            return await self._door.submitter.submit(body, desk.token, key, sent_by=desk.visitor.publisher_id)
        except RelayError as error:
            desk.note(error)
            if any(fault.code == _REUSED for fault in error.faults):
                desk.key = self._new_key()
                text = (
                    "Something else was sent from this page before. Send once more if you mean this one, too."
                )
                desk.remarks = [Remark("", text)]
        return None

    # --- what a draft comes to ---

    async def _look_after(self, desk: _ComposerState) -> Look:
        """The look of a page that a button was pressed on; what the button met comes first."""
        try:
            look = await self._look(desk, count_everyone=desk.asks)
        except RelayError as error:
            look = replace(self._drawn(desk), remarks=remarks_of(error.faults, is_error=True))
        if any(remark.is_error for remark in look.remarks):
            desk.asks = False
        remarks = dict.fromkeys([*desk.remarks, *look.remarks])
        if any(remark.field == _NOBODY.field for remark in desk.remarks):
            remarks.pop(_NOBODY, None)
        return replace(look, remarks=[*remarks])

    async def _look(self, desk: _ComposerState, *, count_everyone: bool = False) -> Look:
        """What `/v1.0/validate/` says of it. "All" is counted when it is about to be sent, not at each letter."""
        look = self._drawn(desk)
        body, unread = composing.body_of(desk.draft, desk.app.app_id)
        remarks = list(unread)
        targets = skipped = None
        try:
            checked = await self._door.check.check(body, desk.token)
            remarks += remarks_of(checked.warnings, is_error=False)
            if count_everyone or not checked.everyone:
                targets, skipped, warnings = await count_reach(self._database, checked)
                remarks += remarks_of(warnings, is_error=False)
        except Invalid as error:
            known = {remark.field for remark in unread}
            remarks += (one for one in remarks_of(error.faults, is_error=True) if one.field not in known)
        if not (body["destinations"] or unread):
            remarks = [one for one in remarks if one.field != "recipients"] + [_NOBODY]
        return replace(look, remarks=remarks, targets=targets, skipped=skipped)

    def _drawn(self, desk: _ComposerState) -> Look:
        """The picture and the size, of whatever is right of it."""
        body, _ = composing.body_of(desk.draft, desk.app.app_id)
        known = {name: body[name] for name in ("payload", "notification", "push_type") if name in body}
        payload, push_type = draft_content(SendBody(app_id="", destinations=None, **known))
        try:
            size = len(payloads.encode(payload))
        except Invalid:
            size = 0
        seen = picture(payload, push_type.name, desk.app.name)
        return Look(seen, push_type.name, size, push_type.limit)

    # --- the page ---

    async def _page(self, request: web.Request, desk: _ComposerState, look: Look) -> web.StreamResponse:
        devices = await self._test_devices.list_test_devices_with_app(
            desk.visitor.publisher_id, desk.app.app_id
        )
        context = _context(desk, look, is_part=False)
        response = self._pages.render(request, "composer.html", desk.status, **context, devices=devices)
        if "Retry-After" in desk.headers:
            response.headers["Retry-After"] = desk.headers["Retry-After"]
        return response

    async def _desk(self, request: web.Request, visitor: PublisherVisitor) -> tuple[_ComposerState, str]:
        """The form that was posted, and which button was pressed."""
        app = await self._own_apps.of(request, visitor)
        form = await read_form(request)
        pairs = [(name, text) for name, text in (await request.post()).items() if isinstance(text, str)]
        key = form.get("key", "")
        key = key if _KEY.fullmatch(key) else self._new_key()
        return _ComposerState(visitor, app, composing.read(pairs), key), form.get("do", "")

    def _new_key(self) -> str:
        """A word that the form carries as `Idempotency-Key`: pressed twice, it sends once."""
        return self._random(16).hex()


def _context(desk: _ComposerState, look: Look, *, is_part: bool) -> dict[str, Any]:
    return {
        "section": "compose",
        "shown_app": desk.app,
        "app": desk.app,
        "draft": desk.draft,
        "key": desk.key,
        "look": look,
        "remarks": by_field(look.remarks),
        "is_part": is_part,
        "asks": desk.asks,
        "push": desk.tried,
        "most_counted": MAX_COUNTED_TARGETS,
        **_OPTIONS,
        "bar_width": WIDTH,
        "fields": composing.FIELDS[desk.draft.editor],
    }


def _destinations(devices: Iterable[TestDeviceInApp]) -> dict[str, list[str]]:
    wanted: dict[str, list[str]] = {}
    for one in devices:
        wanted.setdefault(one.customer, []).append(one.device)
    return wanted


def _said(accepted: Accepted) -> str:
    """What is told of a push that was accepted, on the page that comes next."""
    answer = msgspec.json.decode(accepted.answer)
    unreached = len(answer["warnings"])
    if answer["targets"] is None:
        return "Accepted. It goes to everybody, piece by piece."
    said = f"Accepted for {answer['targets']} {'copy' if answer['targets'] == 1 else 'copies'}."
    return f"{said} There were warnings: {unreached}." if unreached else said
