"""The scenario of `holdfast smoke`: one hold is sold, one released, one refused and, on request, one expires."""

from contextlib import suppress
from datetime import datetime

from cli.smoke.client import SmokeClient
from cli.smoke.steps import SmokeError, SmokeResult
from core.settings import MIN_TTL_SECONDS

_ON_HAND = 5
_SOLD = 2
_EXPIRY_TTL_SECONDS = MIN_TTL_SECONDS


def run_scenario(client: SmokeClient, result: SmokeResult, *, with_expiry: bool = False) -> None:
    """Run the scenario, record each step in `result`, and clean up, after Ctrl-C too.

    A failed step ends the scenario and is recorded, not raised.
    """
    try:
        with suppress(SmokeError):  # recorded by its step
            _run_steps(client, result, with_expiry=with_expiry)
    finally:
        _clean_up(client, result)


def _run_steps(client: SmokeClient, result: SmokeResult, *, with_expiry: bool) -> None:
    with result.step("health") as found:
        health = client.health()
        found.append(f"{health['status']}, {health['mode']}, version {health.get('version')}")
        if failing := health.get("failing"):
            found.append(f"{failing}: {health.get('parts', {}).get(failing, {}).get('detail')}")
    with result.step("set stock") as found:
        client.choose_item()
        client.set_stock(_ON_HAND)
        found.append(client.expect_stock(_ON_HAND, 0))
    if health.get("bypassed"):
        result.not_checked.append(
            "SKIP_INVENTORY_VALIDATION is set: the API creates no holds, so payment, commit, release, expiry and "
            "refusal were not checked."
        )
        with result.step("validate"):
            client.validate(_ON_HAND + 1)
        return
    with result.step("validate"):
        client.validate(_ON_HAND)
    with result.step("validate too many") as found:
        found.append(_shortage(client.validate(_ON_HAND + 1, expect=409)))
    if health["mode"] != "reserve_ttl":
        result.not_checked.append(
            f"The mode is {health['mode']}: the API creates no holds, so payment, commit, release and expiry were not "
            "checked."
        )
        with result.step("hold is not made"):
            if client.hold(1, expect=200).get("holdId") is not None:
                raise SmokeError(f"the API created a hold in mode {health['mode']}")
        return
    _sell(client, result)
    _release(client, result)
    with result.step("hold too many") as found:
        found.append(_shortage(client.hold(_ON_HAND + 1, expect=409)))
    if with_expiry:
        _let_expire(client, result)
    else:
        result.not_checked.append("Expiry was not checked; --with-expiry checks it and takes 30 seconds longer.")


def _sell(client: SmokeClient, result: SmokeResult) -> None:
    with result.step("hold"):
        hold_id = client.hold(_SOLD)["holdId"]
    with result.step("stock while held") as found:
        found.append(client.expect_stock(_ON_HAND - _SOLD, _SOLD))
    if client.can_sign_webhooks:
        with result.step("webhook"):
            client.send_payment_webhook(hold_id)
        with result.step("commit seen") as found:
            hold = client.wait_for(hold_id, "committed")
            found.append(f"by {hold['paymentIntentId']}")
    else:
        result.not_checked.append(
            "STRIPE_WEBHOOK_SECRET is not set: the webhook was not checked; the hold was committed through the API."
        )
        with result.step("commit"):
            client.commit(hold_id)
    with result.step("stock after the sale") as found:
        found.append(client.expect_stock(_ON_HAND - _SOLD, 0))


def _release(client: SmokeClient, result: SmokeResult) -> None:
    with result.step("second hold"):
        hold_id = client.hold(1)["holdId"]
    with result.step("release") as found:
        status = client.release(hold_id)["status"]
        if status != "released":
            raise SmokeError(f"hold {hold_id} is {status}, expected released")
        found.append(status)
    with result.step("stock after the release") as found:
        found.append(client.expect_stock(_ON_HAND - _SOLD, 0))


def _let_expire(client: SmokeClient, result: SmokeResult) -> None:
    with result.step("third hold"):
        hold_id = client.hold(1, ttl_seconds=_EXPIRY_TTL_SECONDS)["holdId"]
    with result.step("expiry") as found:
        hold = client.wait_for(hold_id, "expired", after_seconds=_EXPIRY_TTL_SECONDS)
        lag = datetime.fromisoformat(hold["expiredAt"]) - datetime.fromisoformat(hold["expiresAt"])
        found.append(f"{lag.total_seconds() * 1000:.0f} ms after its deadline")
    with result.step("stock after the expiry") as found:
        found.append(client.expect_stock(_ON_HAND - _SOLD, 0))


def _clean_up(client: SmokeClient, result: SmokeResult) -> None:
    if not any(step.ok for step in result.steps):
        return  # the API was never reached, so there is nothing to clean up
    with suppress(SmokeError), result.step("clean up") as found:  # recorded by its step
        client.clean_up()
        found.append("no active holds, stock is 0")


def _shortage(answer: dict[str, object]) -> str:
    items = answer.get("items")
    if answer.get("error") != "insufficient_stock" or not isinstance(items, list) or not items:
        raise SmokeError(f"the 409 response does not list the items in short supply: {answer}")
    return f"409: {items[0]['available']} of {items[0]['requested']}"
