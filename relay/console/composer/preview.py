"""The preview of a draft: its lock screen and size, and what `/v1.0/validate/` reports about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from relay.console.composer.form import build_body
from relay.console.composer.lock_screen import LockScreen, draw_lock_screen
from relay.console.composer.remarks import Remark, remarks_from_faults
from relay.console.composer.state import ComposerState
from relay.core.errors import Invalid, RelayError
from relay.core.ids import AppId
from relay.core.push import payload as payloads
from relay.core.push.content import draft_content
from relay.core.push.request import SendBody
from relay.service.reach import count_reach
from relay.service.validation import SendCheck
from relay.store.database import Database

NO_RECIPIENTS = Remark("recipients", "No customer is named yet.", is_error=False)
_DRAWN_FIELDS = ("payload", "notification", "push_type")
"""Fields of the body that decide the lock screen and the size."""


@dataclass(frozen=True, slots=True, repr=False)
class DraftPreview:
    """The preview of a draft. `size` and `limit` are bytes of the payload.

    `targets` and `skipped` count copies; both are None if the draft has errors, or if they were not counted.
    """

    lock_screen: LockScreen
    push_type: str
    size: int
    limit: int
    remarks: Sequence[Remark] = ()
    targets: int | None = None
    skipped: int | None = None


class Previewer:
    """The maker of previews."""

    def __init__(self, check: SendCheck, database: Database) -> None:
        self._check = check
        self._database = database

    def draw(self, state: ComposerState) -> DraftPreview:
        """Return the lock screen and size of the readable parts of a draft, without checking it."""
        body, _ = build_body(state.draft, state.app.app_id)
        fields = {name: body[name] for name in _DRAWN_FIELDS if name in body}
        payload, push_type = draft_content(SendBody(app_id=AppId(""), destinations=None, **fields))
        try:
            size = len(payloads.encode_payload(payload))
        except Invalid:
            size = 0
        lock_screen = draw_lock_screen(payload, push_type.name, state.app.name)
        return DraftPreview(lock_screen, push_type.name, size, push_type.limit_bytes)

    def draw_refusal(self, state: ComposerState, error: RelayError) -> DraftPreview:
        """Return the lock screen and size with the faults of `error`, for a draft that could not be checked."""
        return replace(self.draw(state), remarks=remarks_from_faults(error.faults, is_error=True))

    async def check(self, state: ComposerState, *, count_everyone: bool = False) -> DraftPreview:
        """Return the preview of a draft with the errors and warnings of `/v1.0/validate/`.

        A push to everyone is counted only with `count_everyone`, because counting a large app costs time.

        Raises: RelayError if the draft cannot be checked.
        """
        preview = self.draw(state)
        body, unreadable = build_body(state.draft, state.app.app_id)
        remarks = list(unreadable)
        targets = skipped = None
        try:
            checked = await self._check.check_push(body, state.token)
            remarks += remarks_from_faults(checked.warnings, is_error=False)
            if count_everyone or not checked.everyone:
                targets, skipped, warnings = await count_reach(self._database, checked)
                remarks += remarks_from_faults(warnings, is_error=False)
        except Invalid as error:
            unreadable_fields = {remark.field for remark in unreadable}
            errors = remarks_from_faults(error.faults, is_error=True)
            remarks += (remark for remark in errors if remark.field not in unreadable_fields)
        if not (body["destinations"] or unreadable):
            remarks = [remark for remark in remarks if remark.field != NO_RECIPIENTS.field]
            remarks.append(NO_RECIPIENTS)
        return replace(preview, remarks=remarks, targets=targets, skipped=skipped)
