"""Credentials: JWTs are verified, certificates are bound to their topic, connections to their team."""

from __future__ import annotations

import base64
import contextlib
import json

import jwt
import pytest

from apns_standin import StandInLimits

from .raw_client import BUNDLE, OTHER_BUNDLE, OTHER_TEAM, TEAM, RawClient, running


async def verdict_of(rig, client, bearer: str, **changes):
    return (await client.push(rig.headers(bearer=bearer, **changes))).verdict


@pytest.mark.parametrize(
    ("age", "verdict"),
    [
        (0, (200, None)),
        (3590, (200, None)),
        (3700, (403, "ExpiredProviderToken")),
        (10**9, (403, "ExpiredProviderToken")),
        (-600, (403, "InvalidProviderToken")),
    ],
)
async def test_a_provider_token_lives_an_hour_from_its_iat(age, verdict):
    async with running() as rig, RawClient.connect(rig.apns) as client:
        assert await verdict_of(rig, client, rig.sign(iat=int(rig.clock()) - age)) == verdict


async def test_a_cached_provider_token_expires_too():
    async with running() as rig, RawClient.connect(rig.apns) as client:
        assert await verdict_of(rig, client, rig.jwt) == (200, None)
        rig.clock.ahead = 3700
        assert await verdict_of(rig, client, rig.jwt) == (403, "ExpiredProviderToken")


def forged(text: str) -> str:
    """Return a JWT with another team in its claims and its former signature."""
    head, _, signature = text.split(".")
    claims = (
        base64.urlsafe_b64encode(json.dumps({"iss": OTHER_TEAM, "iat": 1}).encode()).rstrip(b"=").decode()
    )
    return f"{head}.{claims}.{signature}"


async def test_a_provider_token_must_be_signed_by_the_key_it_names():
    async with running() as rig, RawClient.connect(rig.apns) as client:
        other = rig.apns.issue_key(TEAM)
        now = int(rig.clock())
        bad = [
            rig.sign(other, kid=rig.key.key_id),  # another key's signature
            rig.sign(kid="ABCDEFGHJK"),  # unknown key
            rig.sign(team=OTHER_TEAM),  # not the key's team
            rig.sign(iat="now"),
            rig.sign(iat=True),
            rig.sign(iat=float("nan")),
            forged(rig.jwt),
            rig.jwt[:-4] + "AAAA",
            rig.jwt + ".x",
            jwt.encode(
                {"iss": TEAM, "iat": now}, "s" * 32, algorithm="HS256", headers={"kid": rig.key.key_id}
            ),
            jwt.encode({"iss": TEAM, "iat": now}, None, algorithm="none", headers={"kid": rig.key.key_id}),
            jwt.encode({"iss": TEAM, "iat": now}, rig.key.p8, algorithm="ES256"),  # no kid
            jwt.encode({"iss": TEAM}, rig.key.p8, algorithm="ES256", headers={"kid": rig.key.key_id}),
            "..",
            base64.urlsafe_b64encode(b"[" * 5000).decode() + ".e30.eA",
        ]
        for text in bad:
            assert await verdict_of(rig, client, text) == (403, "InvalidProviderToken"), text
        assert await verdict_of(rig, client, rig.jwt) == (200, None)


async def test_the_scheme_is_not_case_sensitive():
    async with running() as rig, RawClient.connect(rig.apns) as client:
        assert (await client.push(rig.headers(authorization=f"Bearer  {rig.jwt}"))).status == 200


async def test_a_revoked_key_is_invalid_though_its_token_was_cached():
    async with running() as rig, RawClient.connect(rig.apns) as client:
        assert await verdict_of(rig, client, rig.jwt) == (200, None)
        rig.apns.revoke_key(TEAM, rig.key.key_id)
        assert await verdict_of(rig, client, rig.jwt) == (403, "InvalidProviderToken")


async def test_a_second_team_needs_a_second_connection():
    async with running() as rig:
        other = rig.sign(rig.apns.issue_key(OTHER_TEAM))
        token = rig.apns.issue_device_token(OTHER_BUNDLE, OTHER_TEAM, "production").token
        theirs = {"token": token, "apns_topic": OTHER_BUNDLE}
        async with RawClient.connect(rig.apns) as client:
            assert await verdict_of(rig, client, rig.jwt) == (200, None)
            assert await verdict_of(rig, client, other, **theirs) == (403, "InvalidProviderToken")
            assert await verdict_of(rig, client, rig.jwt) == (200, None)
        async with RawClient.connect(rig.apns) as client:
            assert await verdict_of(rig, client, other, **theirs) == (200, None)


async def test_a_topic_of_another_team_is_disallowed_until_it_is_transferred():
    async with running() as rig, RawClient.connect(rig.apns) as client:
        other = rig.sign(rig.apns.issue_key(OTHER_TEAM))
        assert await verdict_of(rig, client, other) == (400, "TopicDisallowed")
        rig.apns.register_topic(BUNDLE, OTHER_TEAM, transfer=True)
        assert await verdict_of(rig, client, other) == (200, None)


async def test_a_key_for_one_environment_is_refused_in_the_other():
    async with running() as rig:
        sandbox_token = rig.apns.issue_device_token(BUNDLE, TEAM, "sandbox").token
        for environment, wrong, token in (
            ("production", "sandbox", rig.token),
            ("sandbox", "production", sandbox_token),
        ):
            good = rig.sign(rig.apns.issue_key(TEAM, environment))
            bad = rig.sign(rig.apns.issue_key(TEAM, wrong))
            async with RawClient.connect(rig.apns, environment) as client:
                refused = await verdict_of(rig, client, bad, token=token)
                assert refused == (403, "BadEnvironmentKeyIdInToken")
                assert await verdict_of(rig, client, good, token=token) == (200, None)


async def test_restricted_and_unrestricted_keys_do_not_share_a_connection():
    async with running() as rig, RawClient.connect(rig.apns) as client:
        restricted = rig.sign(rig.apns.issue_key(TEAM, "production"))
        assert await verdict_of(rig, client, rig.jwt) == (200, None)
        assert await verdict_of(rig, client, rig.sign(rig.apns.issue_key(TEAM))) == (200, None)
        assert await verdict_of(rig, client, restricted) == (403, "UnrelatedKeyIdInToken")


async def test_a_provider_token_renewed_too_soon_is_refused_and_the_old_one_stays_good():
    async with running() as rig:
        now = int(rig.clock())
        old, soon, later = (rig.sign(iat=now - age) for age in (1800, 1000, 500))
        async with RawClient.connect(rig.apns) as client:
            assert await verdict_of(rig, client, old) == (200, None)
            assert await verdict_of(rig, client, rig.sign(iat=now - 1800)) == (200, None)  # not newer
            assert await verdict_of(rig, client, soon) == (429, "TooManyProviderTokenUpdates")
            assert await verdict_of(rig, client, old) == (200, None)
            assert await verdict_of(rig, client, later) == (200, None)
            assert await verdict_of(rig, client, old) == (200, None)  # was under way
        async with RawClient.connect(rig.apns) as client:
            assert await verdict_of(rig, client, soon) == (200, None)  # each connection counts for itself


async def test_the_limit_of_renewals_can_be_switched_off():
    async with (
        running(limits=StandInLimits(token_update_seconds=0)) as rig,
        RawClient.connect(rig.apns) as client,
    ):
        now = int(rig.clock())
        for age in range(10, 0, -1):
            assert await verdict_of(rig, client, rig.sign(iat=now - age)) == (200, None)


async def test_a_certificate_needs_no_bearer_and_is_bound_to_its_topic(tmp_path):
    async with running() as rig:
        file = tmp_path / "push.pem"
        file.write_text(rig.apns.issue_certificate(TEAM, BUNDLE))
        other = rig.apns.issue_device_token(OTHER_BUNDLE, OTHER_TEAM, "production").token
        voip = rig.apns.issue_device_token(BUNDLE, TEAM, "production", "voip").token
        location = rig.apns.issue_device_token(BUNDLE, TEAM, "production", "location").token
        async with RawClient.connect(rig.apns, certificate=file) as client:
            bare = {"authorization": None, "apns_push_type": None}
            assert (await client.push(rig.headers(**bare))).verdict == (200, None)
            headers = rig.headers(token=voip, apns_topic=BUNDLE + ".voip", **bare)
            assert (await client.push(headers)).verdict == (200, None)
            headers = rig.headers(token=other, apns_topic=OTHER_BUNDLE, **bare)
            assert (await client.push(headers)).verdict == (400, "BadTopic")
            headers = rig.headers(token=location, apns_topic=BUNDLE + ".location-query", **bare)
            assert (await client.push(headers)).verdict == (400, "TopicDisallowed")
        [received] = await rig.apns.notifications(rig.token)
        assert (received["team_id"], received["key_id"]) == (TEAM, None)


async def test_a_certificate_for_one_environment_is_refused_in_the_other(tmp_path):
    async with running() as rig:
        file = tmp_path / "push.pem"
        file.write_text(rig.apns.issue_certificate(TEAM, BUNDLE, "sandbox"))
        token = rig.apns.issue_device_token(BUNDLE, TEAM, "sandbox").token
        async with RawClient.connect(rig.apns, certificate=file) as client:
            answer = await client.push(rig.headers(authorization=None))
            assert answer.verdict == (403, "BadCertificateEnvironment")
        async with RawClient.connect(rig.apns, "sandbox", certificate=file) as client:
            assert (await client.push(rig.headers(token=token, authorization=None))).verdict == (200, None)


async def test_a_certificate_of_another_authority_gets_no_answer(tmp_path):
    async with running() as rig, running() as stranger:
        file = tmp_path / "push.pem"
        file.write_text(stranger.apns.issue_certificate(TEAM, BUNDLE))
        served = False
        # TLS 1.3 lets a client find out only after its handshake.
        with contextlib.suppress(OSError):
            async with RawClient.connect(rig.apns, certificate=file):
                served = True
        assert not served
