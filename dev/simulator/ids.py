"""Ids that look like Stripe's. Random and never seeded, so that ids of two simulators differ."""

import secrets
import string

_ALPHABET = string.ascii_letters + string.digits


def random_text(length: int) -> str:
    """Return letters and digits."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def new_id(prefix: str) -> str:
    """Return an id such as `pi_3...`: Stripe's prefix, then 24 letters and digits."""
    return f"{prefix}_3{random_text(23)}"


def new_session_id() -> str:
    """Return the id of a Checkout Session in test mode."""
    return f"cs_test_a1{random_text(56)}"


def new_request_id() -> str:
    """Return the id that Stripe gives one API call."""
    return f"req_{random_text(14)}"
