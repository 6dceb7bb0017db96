"""Encryption at rest: any of the keys decrypts, the newest encrypts, and purposes are apart."""

from __future__ import annotations

import pytest

from relay.store.encryption import SecretCipher, UndecryptableSecret

OLD, NEW, OTHER = (f"the {name} key of thirty-two characters" for name in ("old", "new", "other"))


def test_the_newest_key_encrypts_and_all_keys_decrypt() -> None:
    before, after = SecretCipher((OLD,), "tests"), SecretCipher((OLD, NEW), "tests")
    encrypted = before.encrypt_secret("secret")
    assert after.decrypt_secret(encrypted) == "secret"
    assert not after.uses_newest_key(encrypted)
    assert after.uses_newest_key(after.encrypt_secret("secret"))


def test_a_reencrypted_secret_needs_the_newest_key_only() -> None:
    encrypted = SecretCipher((OLD,), "tests").encrypt_secret("secret")
    reencrypted = SecretCipher((OLD, NEW), "tests").reencrypt_secret(encrypted)
    assert SecretCipher((NEW,), "tests").decrypt_secret(reencrypted) == "secret"


@pytest.mark.parametrize(
    ("key", "purpose"), [(OTHER, "tests"), (OLD, "another purpose")], ids=["another key", "another purpose"]
)
def test_a_secret_of_another_key_or_purpose_is_refused(key: str, purpose: str) -> None:
    encrypted = SecretCipher((OLD,), "tests").encrypt_secret("secret")
    cipher = SecretCipher((key,), purpose)
    assert not cipher.uses_newest_key(encrypted)
    for read in (cipher.decrypt_secret, cipher.reencrypt_secret):
        with pytest.raises(UndecryptableSecret) as caught:
            read(encrypted)
        assert "secret." in str(caught.value)
