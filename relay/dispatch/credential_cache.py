"""The credentials of the teams that pushes go to: looked up in groups, kept in a bounded cache.

An entry is looked up again when a notice says that credentials changed, or when it is too old. An entry without a
working credential gets old sooner, because pushes wait for it. A secret is decrypted when it is used first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple, TypeAlias

from relay.core.accounts import Environment
from relay.core.clock import Clock
from relay.core.delivery.reasons import metric_label
from relay.core.delivery.sending import Credential
from relay.core.errors import RelayError
from relay.store.accounts.credentials import NO_CREDENTIAL, Credentials, StoredCredential
from relay.telemetry.logs import get_logger
from relay.telemetry.metrics import SUSPENSIONS

_log = get_logger(__name__)
_MAX_AGE = timedelta(seconds=10)
_MAX_AGE_WITHOUT_CREDENTIAL = timedelta(seconds=1)
MAX_TEAMS = 20_000
"""Entries that are kept; the least recently used ones go first."""

Team: TypeAlias = tuple[str, Environment]
"""A team identifier and one of its environments."""


class CredentialChoice(NamedTuple):
    """The credential to send with. Without one, `held_by` is the id of the suspended one, `NO_CREDENTIAL` if none."""

    credential: Credential | None
    held_by: int


@dataclass(slots=True)
class _Entry:
    stored: Sequence[StoredCredential]
    read_at: datetime
    max_age: timedelta
    opened: dict[int, Credential | None]
    """By credential id: what was decrypted. None if no key of ours opens it."""


class TeamCredentials:
    """The credentials of some teams at one moment."""

    def __init__(
        self, entries: Mapping[Team, _Entry], unseal: Callable[[StoredCredential], Credential | None]
    ):
        self._entries = entries
        self._unseal = unseal

    def choose(self, team_id: str, environment: Environment, bundle_id: str) -> CredentialChoice:
        """Choose the credential of that topic or, without one, of the whole team."""
        entry = self._entries.get((team_id, environment))
        if entry is None:
            return CredentialChoice(None, NO_CREDENTIAL)
        for wanted in (bundle_id, ""):
            for stored in entry.stored:
                if stored.bundle_id != wanted:
                    continue
                if stored.is_suspended:
                    return CredentialChoice(None, stored.credential_id)
                if stored.credential_id not in entry.opened:
                    entry.opened[stored.credential_id] = self._unseal(stored)
                if (credential := entry.opened[stored.credential_id]) is not None:
                    return CredentialChoice(credential, NO_CREDENTIAL)
        return CredentialChoice(None, NO_CREDENTIAL)


class CredentialCache:
    """The credentials for all that send. `on_inactive` is called with ids that may not be used any more."""

    def __init__(
        self,
        credentials: Credentials,
        clock: Clock,
        *,
        max_teams: int = MAX_TEAMS,
        on_inactive: Callable[[int], None] = lambda credential_id: None,
    ) -> None:
        self._credentials = credentials
        self._clock = clock
        self._max_teams = max_teams
        self.on_inactive = on_inactive
        self._entries: OrderedDict[Team, _Entry] = OrderedDict()
        self._valid_from: datetime | None = None
        """Entries that were read before this are looked up again."""

    async def look_up(self, teams: Iterable[Team]) -> TeamCredentials:
        """Return the credentials of these teams; one query for all that are not known well enough.

        Raises:
            Unavailable: The database is away.
        """
        now = self._clock.now()
        found: dict[Team, _Entry] = {}
        missing: list[Team] = []
        for team in dict.fromkeys(teams):
            entry = self._entries.get(team)
            if entry is not None and self._is_fresh(entry, now):
                self._entries.move_to_end(team)
                found[team] = entry
            else:
                missing.append(team)
        if missing:
            stored: dict[Team, list[StoredCredential]] = {team: [] for team in missing}
            for credential in await self._credentials.find_of_teams(missing):
                stored[credential.team_id, credential.environment].append(credential)
            for team in missing:
                found[team] = self._keep(team, stored[team], now)
            while len(self._entries) > self._max_teams:
                self._entries.popitem(last=False)
        return TeamCredentials(found, self._credentials.unseal)

    def invalidate(self) -> None:
        """Look everything up again: credentials were added, changed or suspended, here or elsewhere."""
        self._valid_from = self._clock.now()

    async def find_inactive(self, credential_ids: Sequence[int]) -> list[int]:
        """Return those of `credential_ids` that are suspended or gone. Raises Unavailable."""
        return await self._credentials.find_inactive(credential_ids)

    async def suspend(self, credential: Credential, reason: str, sent_at: datetime) -> None:
        """Suspend a credential that Apple refuses. `sent_at`: when the push that it refused was sent."""
        _log.error(
            "a credential is suspended: Apple refuses it. Its pushes are kept; replace or resume it",
            credential_id=credential.credential_id,
            team_id=credential.team_id,
            reason=reason,
        )
        try:
            suspended = await self._credentials.suspend(
                credential.credential_id,
                reason,
                self._clock.now(),
                version=credential.version,
                sent_at=sent_at,
            )
            if suspended:
                SUSPENSIONS.labels(metric_label(reason)).inc()
                self.on_inactive(credential.credential_id)
        except RelayError:
            _log.warning("the suspension could not be stored; the next answer brings it again")
        self._entries.pop((credential.team_id, credential.environment), None)

    def _is_fresh(self, entry: _Entry, now: datetime) -> bool:
        is_valid = self._valid_from is None or entry.read_at > self._valid_from
        return is_valid and now - entry.read_at < entry.max_age

    def _keep(self, team: Team, stored: Sequence[StoredCredential], now: datetime) -> _Entry:
        former = self._entries.pop(team, None)
        active = {(one.credential_id, one.version) for one in stored if not one.is_suspended}
        opened: dict[int, Credential | None] = {}
        for before in former.stored if former else ():
            if before.is_suspended:
                continue
            if (before.credential_id, before.version) in active:
                if former is not None and before.credential_id in former.opened:
                    opened[before.credential_id] = former.opened[before.credential_id]
            elif all(before.credential_id != credential_id for credential_id, _ in active):
                self.on_inactive(before.credential_id)
        max_age = _MAX_AGE if active and len(active) == len(stored) else _MAX_AGE_WITHOUT_CREDENTIAL
        entry = self._entries[team] = _Entry(stored, now, max_age, opened)
        return entry
