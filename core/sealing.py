"""Encrypts what must not be readable where it is kept."""

import base64
import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from cryptography.fernet import Fernet, InvalidToken
from pydantic import SecretStr


class WrongKeyError(Exception):
    """None of the secrets opens it."""


class Sealer:
    """Encrypts JSON values with the first of its secrets, and opens what any of them has encrypted."""

    def __init__(self, secrets: Sequence[SecretStr]) -> None:
        self._keys = [Fernet(_key(secret.get_secret_value())) for secret in secrets]

    def seal(self, value: object) -> bytes:
        """Return the value, encrypted and authenticated. Raises WrongKeyError without a secret."""
        if not self._keys:
            raise WrongKeyError
        return self._keys[0].encrypt(json.dumps(value).encode())

    def open(self, sealed: bytes) -> Any:  # noqa: ANN401 - what was sealed
        """Return the value. Raises WrongKeyError."""
        for key in self._keys:
            with suppress(InvalidToken):
                return json.loads(key.decrypt(sealed))
        raise WrongKeyError


def _key(secret: str) -> bytes:
    """Return the key of a secret, which is long and random: it needs no slow derivation."""
    return base64.urlsafe_b64encode(hashlib.sha256(secret.encode()).digest())
