"""How long stock waits for a payment under way."""

import pytest

from payments.grace_periods import DAY, DEFAULT_GRACE_SECONDS, GRACE_SECONDS_BY_METHOD, grace_seconds


def test_a_method_waits_as_long_as_the_table_says() -> None:
    assert grace_seconds("sepa_debit", {}) == 22 * DAY
    assert grace_seconds("konbini", {}) == 5 * DAY


@pytest.mark.parametrize("method", [None, "a_method_of_next_year"])
def test_a_method_that_is_not_known_waits_a_week(method: str | None) -> None:
    assert grace_seconds(method, {}) == DEFAULT_GRACE_SECONDS == 7 * DAY


def test_what_the_shop_configured_wins_over_the_table() -> None:
    configured = {"sepa_debit": 3600, "default": 60}
    assert grace_seconds("sepa_debit", configured) == 3600
    assert grace_seconds("boleto", configured) == GRACE_SECONDS_BY_METHOD["boleto"]
    assert grace_seconds("a_method_of_next_year", configured) == 60
    assert grace_seconds(None, configured) == 60


def test_every_grace_is_days_and_not_longer_than_a_month() -> None:
    assert all(DAY <= seconds <= 31 * DAY for seconds in GRACE_SECONDS_BY_METHOD.values())
