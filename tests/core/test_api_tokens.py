"""The text of API tokens: made in one form, recognised by it, and found in other texts by a scanner."""

from __future__ import annotations

import base64
import re
import secrets
import zlib
from pathlib import Path
from uuid import uuid4

import pytest

from relay.core.accounts import TokenKind
from relay.core.api_tokens import RANDOM_BYTES, digest_of_token, kind_of_token, make_token
from relay.core.install_tokens import InstallClaims, InstallTokens

RANDOM = bytes(range(RANDOM_BYTES))
TOKEN = make_token(TokenKind.PUSH, RANDOM)
BODY = TOKEN.removeprefix("push_")


@pytest.mark.parametrize("kind", TokenKind)
def test_a_token_is_recognised_by_its_text(kind: TokenKind) -> None:
    token = make_token(kind, RANDOM)
    raw = base64.urlsafe_b64decode(token.removeprefix(f"{kind}_"))
    assert raw == RANDOM + zlib.crc32(RANDOM).to_bytes(4, "big")
    assert kind_of_token(token) is kind


@pytest.mark.parametrize(
    "text",
    [
        "",
        "push",
        "push_",
        BODY,
        f"install_{BODY}",
        f"Push_{BODY}",
        f"push_{BODY[:-1]}",
        f"push_{BODY}A",
        f"push_{BODY[:-1]}{'A' if BODY[-1] != 'A' else 'B'}",
        f"push_{'A' if BODY[0] != 'A' else 'B'}{BODY[1:]}",
        f"push_{BODY[:-1]}é",
        f"push_{BODY[:-1]}!",
        f"push_{BODY[:-2]}==",
    ],
    ids=lambda text: text or "empty",
)
def test_a_text_of_another_form_is_no_token(text: str) -> None:
    assert kind_of_token(text) is None


def test_digests_are_of_the_whole_text() -> None:
    assert len(digest_of_token(TOKEN)) == 32
    assert digest_of_token(TOKEN) == digest_of_token(make_token(TokenKind.PUSH, RANDOM))
    assert digest_of_token(TOKEN) != digest_of_token(make_token(TokenKind.MANAGE, RANDOM))


def test_a_scanner_finds_each_kind_of_token() -> None:
    """The expression of docs/operating.md finds each token of the relay in a text, and nothing else."""
    page = (Path(__file__).parents[2] / "docs" / "operating.md").read_text(encoding="utf-8")
    [expression] = re.findall(r"^    (\\b\(\?:push.*)$", page, re.MULTILINE)
    tokens = [make_token(kind, secrets.token_bytes(RANDOM_BYTES)) for kind in TokenKind for _ in range(50)]
    claims = InstallClaims("chess", uuid4(), 7)
    tokens.append(InstallTokens(("a key of at least thirty-two characters",)).sign_claims(claims))
    text = "".join(f'"token": "{token}", ' for token in tokens) + " push_token manage_apps operator_"
    assert [match[0] for match in re.finditer(expression, text)] == tokens
