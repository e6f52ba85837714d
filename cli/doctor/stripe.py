"""The doctor on Stripe: its key, its webhook secrets, and whether its webhooks arrive."""

import re
from collections.abc import Iterator

import httpx
from prometheus_client.parser import text_string_to_metric_families

from cli.doctor.lines import Line, fault, first_line, not_applicable, ok
from cli.doctor.settings import Environment

AREA = "stripe"
_CALL_SECONDS = 5.0
_KEY = re.compile(r"(?:sk|rk|pk)_(test|live)_\w+")
_SECRET_LENGTH = 16
_ROLL = "copy the signing secret of the endpoint that points at /api/webhooks/stripe into STRIPE_WEBHOOK_SECRET"


def key_mode_lines(environment: Environment) -> Iterator[Line]:
    """Say whether all of Stripe's keys in the environment are of one mode, publishable ones included."""
    refused = environment.refused.get("STRIPE_API_KEY")
    key = environment.settings.stripe_api_key
    given = dict(environment.variables) | ({"STRIPE_API_KEY": key.get_secret_value()} if key else {})
    modes = {
        name: match[1]
        for name, value in sorted(given.items())
        if "STRIPE" in name and (match := _KEY.fullmatch(value.strip()))
    }
    if len(set(modes.values())) > 1:
        told = ", ".join(f"{name} is a {mode} key" for name, mode in modes.items())
        yield fault(AREA, "keys", f"live and test mixed: {told}", "take all of them from the same mode of the account")
    elif refused:
        yield fault(AREA, "keys", f"STRIPE_API_KEY {refused}", "copy it from the dashboard, Developers, API keys")
    elif not modes:
        yield not_applicable(AREA, "keys", "STRIPE_API_KEY is not set: no payment is opened or closed")
    else:
        yield ok(AREA, "keys", f"{next(iter(modes.values()))} mode ({', '.join(modes)})")


def secret_line(environment: Environment) -> Line:
    """Say whether the webhook secret looks like one of Stripe's."""
    if why := environment.refused.get("STRIPE_WEBHOOK_SECRET"):
        return fault(AREA, "webhook secret", f"STRIPE_WEBHOOK_SECRET {why}", _ROLL)
    secrets = [secret.get_secret_value() for secret in environment.settings.stripe_webhook_secrets]
    if not secrets and environment.settings.stripe_api_key is None:
        return not_applicable(AREA, "webhook secret", "no Stripe: STRIPE_API_KEY is not set")
    if not secrets:
        return fault(AREA, "webhook secret", "STRIPE_WEBHOOK_SECRET is not set: webhooks are answered 503", _ROLL)
    if any(len(secret.removeprefix("whsec_")) < _SECRET_LENGTH for secret in secrets):
        return fault(AREA, "webhook secret", "STRIPE_WEBHOOK_SECRET is too short to be one of Stripe's", _ROLL)
    return ok(AREA, "webhook secret", f"{len(secrets)}, of the shape of Stripe's")


async def key_line(environment: Environment) -> list[Line]:
    """Say whether the key opens what Holdfast needs: one call that lists one session."""
    settings = environment.settings
    if settings.stripe_api_key is None:
        return [not_applicable(AREA, "key works", "STRIPE_API_KEY is not set")]
    if "STRIPE_API_BASE" in environment.refused:
        return [not_applicable(AREA, "key works", "STRIPE_API_BASE is refused")]
    proxied = settings.stripe_api_base.startswith("https://")
    try:
        async with httpx.AsyncClient(timeout=_CALL_SECONDS, trust_env=proxied) as http:
            answer = await http.get(
                f"{settings.stripe_api_base}/v1/checkout/sessions",
                params={"limit": 1},
                headers={"Authorization": f"Bearer {settings.stripe_api_key.get_secret_value()}"},
            )
    except httpx.HTTPError as error:
        fix = "let this machine reach STRIPE_API_BASE (firewall, proxy); see status.stripe.com"
        return [fault(AREA, "key works", f"{settings.stripe_api_base}: {first_line(error)}", fix)]
    if answer.status_code == httpx.codes.OK:
        return [ok(AREA, "key works", f"{settings.stripe_api_base}, {answer.elapsed.total_seconds() * 1000:.0f} ms")]
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        found, fix = "Stripe does not know STRIPE_API_KEY", "copy it from the dashboard, or roll it there"
    elif answer.status_code == httpx.codes.FORBIDDEN:
        found = "the restricted key may not read Checkout Sessions"
        fix = "let it write Checkout Sessions, PaymentIntents and Refunds"
    else:
        found, fix = f"Stripe answered {answer.status_code}", "see status.stripe.com, and try again"
    return [fault(AREA, "key works", found, fix)]


def webhook_line(metrics: str, *, payments_heard: bool | None) -> Line:
    """Say whether webhooks arrive, from /metrics, which are of one API, and where that had none, from the database.

    `payments_heard`: whether one of the holds sold lately was sold before its deadline; None where none was sold.
    """
    results: dict[str, float] = {}
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            if sample.name == "inventory_stripe_event_total":
                result = sample.labels["result"]
                results[result] = results.get(result, 0) + sample.value
    refused = results.pop("invalid_signature", 0) + results.pop("malformed", 0)
    taken = sum(results.values())
    if refused and not taken:
        found = f"{refused:g} came since the API started, none with a signature of STRIPE_WEBHOOK_SECRET"
        return fault(AREA, "webhooks arrive", found, _ROLL)
    if taken:
        told = f", {refused:g} refused" if refused else ""
        return ok(AREA, "webhooks arrive", f"{taken:g} taken since the API started{told}")
    if payments_heard is None:
        return not_applicable(AREA, "webhooks arrive", "none since the API started, and no payment sold a hold lately")
    if payments_heard:
        return ok(AREA, "webhooks arrive", "none at this API since it started, but payments sell holds in time")
    fix = "in Stripe's dashboard, point an endpoint at <API>/api/webhooks/stripe and look at its deliveries"
    return fault(AREA, "webhooks arrive", "none: payments sold holds only at the deadline, when Stripe was asked", fix)
