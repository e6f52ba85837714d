"""The checkouts of `holdfast smoke`: one paid, one given back, one left to expire, one too large."""

from contextlib import suppress
from datetime import UTC, datetime

import httpx

from cli.smoke.shop import Access, Shop
from cli.smoke.steps import Notes, SmokeError

ON_HAND = 5
_SOLD = 2
_EXPIRES_SECONDS = 30
_EXPIRY_PATIENCE_SECONDS = 15.0
_COMMIT_PATIENCE_SECONDS = 20.0
_CALL_SECONDS = 15.0


def smoke(access: Access, notes: Notes, *, with_expiry: bool = False, patience: float | None = None) -> None:
    """Go through the checkouts and note each step; clean up, whatever happens, Ctrl-C too.

    Notes say what went wrong; nothing is raised but what the block is interrupted by.
    """
    with httpx.Client(base_url=access.origin, timeout=_CALL_SECONDS, trust_env=False) as http:
        shop = Shop(http, access) if patience is None else Shop(http, access, patience)
        try:
            with suppress(SmokeError):  # noted with its step
                _story(shop, access, notes, with_expiry=with_expiry)
        finally:
            _clean_up(shop, notes)


def _story(shop: Shop, access: Access, notes: Notes, *, with_expiry: bool) -> None:
    with notes.step("health") as found:
        health = shop.health()
        found.append(f"{health['status']}, {health['mode']}, version {health.get('version')}")
    with notes.step("set stock") as found:
        shop.choose_item()
        shop.put_stock(ON_HAND)
        found.append(shop.expect_stock(ON_HAND, 0))
    if health.get("bypassed"):
        notes.said.append("The bypass is in force: no hold is made, so no payment, commit, release or 409 was checked.")
        with notes.step("validate"):
            shop.validate(ON_HAND + 1)
        return
    with notes.step("validate"):
        shop.validate(ON_HAND)
    with notes.step("validate too many") as found:
        found.append(_short(shop.validate(ON_HAND + 1, expect=409)))
    if health["mode"] != "reserve_ttl":
        with notes.step("hold is not made"):
            if shop.hold(1, expect=200).get("holdId") is not None:
                raise SmokeError("a hold was made in validate_only")
        notes.said.append(
            f"The mode is {health['mode']}: no hold is made, so no payment, commit, release or expiry was checked."
        )
        return
    _sell(shop, access, notes)
    _give_back(shop, notes)
    with notes.step("hold too many") as found:
        found.append(_short(shop.hold(ON_HAND + 1, expect=409)))
    if with_expiry:
        _let_expire(shop, notes)
    else:
        notes.said.append("Expiry was not waited for: --with-expiry does, for half a minute.")


def _sell(shop: Shop, access: Access, notes: Notes) -> None:
    with notes.step("hold"):
        sold = shop.hold(_SOLD)["holdId"]
    with notes.step("stock while held") as found:
        found.append(shop.expect_stock(ON_HAND - _SOLD, _SOLD))
    if access.webhook_secret is None:
        notes.said.append("STRIPE_WEBHOOK_SECRET is not set: the hold was committed by the API, not by a webhook.")
        with notes.step("commit"):
            shop.commit(sold)
    else:
        with notes.step("webhook"):
            shop.pay(sold)
        with notes.step("commit seen") as found:
            hold = shop.wait_for(sold, "committed", _COMMIT_PATIENCE_SECONDS)
            found.append(f"by {hold['paymentIntentId']}")
    with notes.step("stock after the sale") as found:
        found.append(shop.expect_stock(ON_HAND - _SOLD, 0))


def _give_back(shop: Shop, notes: Notes) -> None:
    with notes.step("second hold"):
        given_back = shop.hold(1)["holdId"]
    with notes.step("release") as found:
        status = shop.release(given_back)["status"]
        if status != "released":
            raise SmokeError(f"hold {given_back} is {status}, not released")
        found.append(status)
    with notes.step("stock after the release") as found:
        found.append(shop.expect_stock(ON_HAND - _SOLD, 0))


def _let_expire(shop: Shop, notes: Notes) -> None:
    with notes.step("third hold"):
        gone = shop.hold(1, ttl_seconds=_EXPIRES_SECONDS)
    with notes.step("expiry") as found:
        ended = shop.wait_for(gone["holdId"], "expired", _EXPIRES_SECONDS + _EXPIRY_PATIENCE_SECONDS)
        lag = datetime.fromisoformat(ended["expiredAt"]) - datetime.fromisoformat(ended["expiresAt"])
        found.append(f"{lag.total_seconds() * 1000:.0f} ms after its deadline ({datetime.now(UTC):%H:%M:%S} UTC)")
    with notes.step("stock after the expiry") as found:
        found.append(shop.expect_stock(ON_HAND - _SOLD, 0))


def _clean_up(shop: Shop, notes: Notes) -> None:
    if not notes.steps or (len(notes.steps) == 1 and not notes.ok):
        return  # nothing was reached, so nothing was made
    with suppress(SmokeError), notes.step("clean up") as found:  # noted with its step
        shop.clean_up()
        found.append("nothing is held, the count is 0")


def _short(answer: dict[str, object]) -> str:
    items = answer.get("items")
    if answer.get("error") != "insufficient_stock" or not isinstance(items, list) or not items:
        raise SmokeError(f"the answer 409 does not name what is short: {answer}")
    return f"409: {items[0]['available']} of {items[0]['requested']}"
