"""What is encrypted opens with the secret that encrypted it, also while the secrets are rotated."""

import pytest
from pydantic import SecretStr

from core.sealing import Sealer, WrongKeyError

OLD, NEW = SecretStr("o" * 32), SecretStr("n" * 32)
VALUE = {"customer_email": "ann@mail.example", "amounts": [1, 2.5, True]}


def test_both_secrets_of_a_rotation_open_and_the_first_one_seals() -> None:
    sealed = Sealer([OLD]).seal(VALUE)
    assert b"ann" not in sealed
    assert Sealer([NEW, OLD]).open(sealed) == VALUE
    assert Sealer([NEW]).open(Sealer([NEW, OLD]).seal(VALUE)) == VALUE


@pytest.mark.parametrize("secrets", [[], [NEW]])
def test_without_the_secret_nothing_opens(secrets: list[SecretStr]) -> None:
    with pytest.raises(WrongKeyError):
        Sealer(secrets).open(Sealer([OLD]).seal(VALUE))
