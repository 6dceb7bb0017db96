"""Client of the stand-in's control API, for simulated devices and tests in other processes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp
import msgspec

from .answers import ScriptedAnswer
from .faults import ListenerFault
from .receipts import Receipt
from .registry import Environment, IssuedKey
from .statistics import StatisticsDocument


class ControlError(Exception):
    """A refusal of the control API: HTTP status, `code` and `detail` of its problem document."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail


class ControlClient:
    """A client of the control API at `url`, as an async context manager. It leaves a session of the caller open.

    Every method raises ControlError if the stand-in refuses, and aiohttp.ClientError if it is unreachable.
    """

    def __init__(self, url: str, session: aiohttp.ClientSession | None = None) -> None:
        self._url = url.rstrip("/")
        self._session = session
        self._closes_session = session is None

    async def __aenter__(self) -> Self:
        if self._session is None:
            self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the session, unless the caller gave it."""
        if self._closes_session and self._session is not None:
            await self._session.close()
            self._session = None

    async def issue_key(self, team_id: str, environment: Environment | None = None) -> IssuedKey:
        """Return a new signing key of a team."""
        answer = await self._call("POST", f"/teams/{_part(team_id)}/keys", {"environment": environment})
        return msgspec.convert(answer, IssuedKey)

    async def revoke_key(self, team_id: str, key_id: str) -> None:
        """Make a key invalid."""
        await self._call("DELETE", f"/teams/{_part(team_id)}/keys/{_part(key_id)}")

    async def issue_certificate(
        self, team_id: str, bundle_id: str, environment: Environment | None = None
    ) -> str:
        """Return a push certificate and its key as one PEM text."""
        order = {"bundle_id": bundle_id, "environment": environment}
        answer = await self._call("POST", f"/teams/{_part(team_id)}/certificates", order)
        return str(answer["certificate"])

    async def transfer_topic(self, bundle_id: str, team_id: str) -> None:
        """Assign a bundle identifier to a team, even if it belongs to another team."""
        await self._call("PUT", f"/topics/{_part(bundle_id)}", {"team_id": team_id})

    async def issue_device_token(
        self, bundle_id: str, team_id: str, environment: Environment, kind: str = "apns"
    ) -> str:
        """Return a new device token, 64 hex digits."""
        order = {"bundle_id": bundle_id, "team_id": team_id, "environment": environment, "kind": kind}
        return str((await self._call("POST", "/devices", order))["device_token"])

    async def issue_device_tokens(
        self, count: int, bundle_id: str, team_id: str, environment: Environment, kind: str = "apns"
    ) -> list[str]:
        """Return `count` (up to 100,000) new device tokens of one app."""
        order = {
            "bundle_id": bundle_id,
            "team_id": team_id,
            "environment": environment,
            "kind": kind,
            "count": count,
        }
        return list((await self._call("POST", "/devices", order))["device_tokens"])

    async def devices(self) -> list[dict[str, Any]]:
        """Return all device tokens with app, environment, kind, count and state."""
        return list(await self._call("GET", "/devices"))

    async def unregister(self, device_token: str, timestamp_ms: int | None = None) -> None:
        """Mark the app as removed from the device at `timestamp_ms` (None: now)."""
        await self._call("DELETE", f"/devices/{_part(device_token)}", {"timestamp": timestamp_ms})

    async def notifications(
        self, device_token: str, after: int = 0, wait: float = 0.0
    ) -> list[dict[str, Any]]:
        """Return what the device token received with `index` > `after`; waits up to `wait` (≤ 60) seconds for it."""
        path = f"/devices/{_part(device_token)}/notifications"
        return list(await self._call("GET", path, after=after, wait=wait))

    async def feed(self, after: int = 0, wait: float = 0.0) -> list[dict[str, Any]]:
        """Return what all device tokens received with feed `index` > `after`; waits as `notifications`."""
        return list(await self._call("GET", "/notifications", after=after, wait=wait))

    async def channels(self) -> list[dict[str, Any]]:
        """Return all broadcast channels with app, environment, storage policy and count."""
        return list(await self._call("GET", "/channels"))

    async def channel_notifications(
        self, channel_id: str, after: int = 0, wait: float = 0.0
    ) -> list[dict[str, Any]]:
        """Return what was pushed to the channel with `index` > `after`; waits up to `wait` (≤ 60) seconds for it."""
        query = {"channel_id": channel_id}
        path = "/channels/notifications"
        return list(await self._call("GET", path, after=after, wait=wait, query=query))

    async def delete_channel(self, channel_id: str) -> None:
        """Delete a channel without a request of its provider."""
        await self._call("DELETE", "/channels", query={"channel_id": channel_id})

    async def answer(self, device_token: str, script: ScriptedAnswer) -> None:
        """Prescribe the answer of a device token."""
        await self._call("PUT", f"/devices/{_part(device_token)}/answer", msgspec.to_builtins(script))

    async def clear_answer(self, device_token: str) -> None:
        """Remove the prescribed answer of a device token."""
        await self._call("DELETE", f"/devices/{_part(device_token)}/answer")

    async def set_fault(self, fault: ListenerFault, environment: Environment) -> None:
        """Switch a fault of a listener on; it replaces an earlier fault of its kind."""
        await self._call("POST", f"/listeners/{environment}/faults", msgspec.to_builtins(fault))

    async def clear_faults(self, environment: Environment, kind: str | None = None) -> None:
        """Switch the fault of that kind off, or (None) all faults of the listener."""
        query = f"?kind={_part(kind)}" if kind is not None else ""
        await self._call("DELETE", f"/listeners/{environment}/faults{query}")

    async def receipts(self) -> AsyncIterator[Receipt]:
        """Yield the accepted pushes by apns-id as they arrive; there may be a million."""
        async with self._opened().get(f"{self._url}/receipts") as response:
            if response.status >= 400:
                raise _refusal(response.status, await response.read())
            async for line in response.content:
                apns_id, device_token, count = line.decode().split()
                yield Receipt(apns_id, device_token, int(count))

    async def unregistered(self) -> dict[str, int]:
        """Return the latest time (epoch ms) in a 410, by device token."""
        return msgspec.convert(await self._call("GET", "/receipts/unregistered"), dict[str, int])

    async def statistics(self) -> StatisticsDocument:
        """Return the stand-in's counters."""
        return msgspec.convert(await self._call("GET", "/statistics"), StatisticsDocument)

    async def _call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        after: int = 0,
        wait: float = 0.0,
        query: Mapping[str, str] = {},
    ) -> Any:
        query = {**query, **{name: str(value) for name, value in (("after", after), ("wait", wait)) if value}}
        # aiohttp's default timeout of five minutes is longer than every `wait`.
        async with self._opened().request(method, self._url + path, json=body, params=query) as response:
            data = await response.read()
        if response.status >= 400:
            raise _refusal(response.status, data)
        return msgspec.json.decode(data) if data else None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession()
        return self._session


def _part(text: str) -> str:
    return quote(text, safe="")


def _refusal(status: int, data: bytes) -> ControlError:
    try:
        problem = msgspec.json.decode(data, type=dict[str, Any])
    except msgspec.DecodeError:
        problem = {}
    return ControlError(status, str(problem.get("code", "unknown")), str(problem.get("detail", "no detail")))
