"""Forms of other sessions and other sites."""

from __future__ import annotations

from tests.console.conftest import (
    ConsoleClient,
)
from tests.end_to_end.store import Store


async def test_a_form_of_another_session_or_site_is_refused(client: ConsoleClient, store: Store) -> None:
    resume = "credentials/1/resume/"
    await client.sign_in(store.operator_token)
    for token in ("", "x" * 27, "ü"):
        status, text = await client.post(resume, {"csrf": token})
        assert (status, "another session" in text) == (403, True)
    assert (await client.post(resume))[0] == 404  # the right token passes: there is no such credential
    assert (await client.post(resume, Origin="https://evil.example"))[0] == 403
    assert (await client.post(resume, **{"Sec-Fetch-Site": "cross-site"}))[0] == 403
    assert (await client.post("sign-out/", {"csrf": ""}))[0] == 403
