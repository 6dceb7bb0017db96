"""The state of a composer page between reading the form and rendering the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from relay.console.composer.form import Draft
from relay.console.composer.remarks import Remark, remarks_from_faults
from relay.console.publisher.push_view import PushView
from relay.console.visitors import PublisherVisitor
from relay.core.errors import RelayError
from relay.core.ids import AppId
from relay.store.accounts.api_tokens import PushToken
from relay.store.accounts.apps import App


@dataclass(slots=True, repr=False)
class ComposerState:
    """A draft with its author and app, and the results of the button that was pressed.

    `idempotency_key` is the key that the form sends, so that pressing a button twice sends once.
    """

    visitor: PublisherVisitor
    app: App
    draft: Draft
    idempotency_key: str
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    remarks: list[Remark] = field(default_factory=list)
    asks_confirmation: bool = False
    """True if the page asks for confirmation before it sends to everyone."""
    tested_push: PushView | None = None
    """The push that was just sent to the test devices."""

    @property
    def token(self) -> PushToken:
        """The publisher's own token as a push token of the app with all rights."""
        return PushToken(
            self.visitor.token.token_id,
            self.visitor.publisher_id,
            AppId(self.app.app_id),
            test_only=False,
            broadcast=True,
            expires_at=self.visitor.token.expires_at,
        )

    def add_refusal(self, error: RelayError) -> None:
        """Take over the status, headers and faults of an error. The draft stays as it is."""
        self.status, self.headers = error.status, error.headers
        self.remarks += remarks_from_faults(error.faults, is_error=True)
