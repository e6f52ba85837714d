"""Checks Stripe: the API key, the webhook secrets, and whether webhooks arrive."""

import asyncio
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families

from cli.doctor.results import CheckResult, fault, not_applicable, ok
from cli.doctor.settings import Environment
from core.error_messages import first_line
from core.settings import Settings
from core.shop_accounts import PLATFORM
from inventory.moments import ARRIVING_SECONDS

AREA = "stripe"
_CALL_SECONDS = 5.0
_KEY = re.compile(r"(?:sk|rk|pk)_(test|live)_\w+")
_SECRET_LENGTH = 16
_OVERDUE_SECONDS = 300
"""As in the alert HoldfastNoWebhooks."""
_COPY_FROM_STRIPE = (
    "copy the signing secret of the endpoint that points at /api/webhooks/stripe into STRIPE_WEBHOOK_SECRET"
)


def check_key_modes(environment: Environment) -> Iterator[CheckResult]:
    """Check that all Stripe keys in the environment, publishable ones too, are of one mode: live or test."""
    refused = environment.refused.get("STRIPE_API_KEY")
    key = environment.settings.stripe_api_key
    given = dict(environment.variables) | ({"STRIPE_API_KEY": key.get_secret_value()} if key else {})
    modes = {
        name: match[1]
        for name, value in sorted(given.items())
        if "STRIPE" in name and (match := _KEY.fullmatch(value.strip()))
    }
    if len(set(modes.values())) > 1:
        found = ", ".join(f"{name} is a {mode} key" for name, mode in modes.items())
        yield fault(AREA, "keys", f"live and test keys mixed: {found}", "use keys of the same mode")
    elif refused:
        yield fault(AREA, "keys", f"STRIPE_API_KEY {refused}", "copy it from the dashboard, Developers, API keys")
    elif not modes:
        yield not_applicable(AREA, "keys", "STRIPE_API_KEY is not set: payments are not used")
    else:
        yield ok(AREA, "keys", f"{next(iter(modes.values()))} mode ({', '.join(modes)})")


def check_webhook_secret(environment: Environment) -> CheckResult:
    """Check that the webhook secrets have the format of Stripe's."""
    if why := environment.refused.get("STRIPE_WEBHOOK_SECRET"):
        return fault(AREA, "webhook secret", f"STRIPE_WEBHOOK_SECRET {why}", _COPY_FROM_STRIPE)
    secrets = [secret.get_secret_value() for secret in environment.settings.stripe_webhook_secrets]
    if not secrets and environment.settings.stripe_api_key is None:
        return not_applicable(AREA, "webhook secret", "STRIPE_API_KEY is not set")
    if not secrets:
        return fault(
            AREA, "webhook secret", "STRIPE_WEBHOOK_SECRET is not set: webhooks are answered 503", _COPY_FROM_STRIPE
        )
    if any(len(secret.removeprefix("whsec_")) < _SECRET_LENGTH for secret in secrets):
        return fault(
            AREA, "webhook secret", "STRIPE_WEBHOOK_SECRET is too short to be one of Stripe's", _COPY_FROM_STRIPE
        )
    return ok(AREA, "webhook secret", f"{len(secrets)}, in the format of Stripe's")


@dataclass(frozen=True, slots=True)
class _Account:
    """An account to call, by its key and for a connected account by its id."""

    name: str
    """Of the check."""
    key_name: str
    key: str
    account: str | None = None


async def check_key(environment: Environment) -> list[CheckResult]:
    """Check that each account's key is valid and may read its Checkout Sessions, by listing one."""
    accounts = list(dict.fromkeys(_accounts(environment.settings)))
    if not accounts:
        return [not_applicable(AREA, "key works", "STRIPE_API_KEY is not set")]
    if "STRIPE_API_BASE" in environment.refused:
        return [not_applicable(AREA, "key works", "STRIPE_API_BASE is not valid")]
    base = environment.settings.stripe_api_base
    async with httpx.AsyncClient(timeout=_CALL_SECONDS, trust_env=base.startswith("https://")) as http:
        return list(await asyncio.gather(*(_check_account(http, base, account) for account in accounts)))


def _accounts(settings: Settings) -> Iterator[_Account]:
    platform = "" if settings.stripe_api_key is None else settings.stripe_api_key.get_secret_value()
    if platform:
        yield _Account("key works", "STRIPE_API_KEY", platform)
    for shop_id, account in settings.shop_accounts.items():
        if account.key_file is not None:
            yield _Account(f"key of shop {shop_id}", "its key_file", account.key_file.get_secret_value())
        for account_id in dict.fromkeys(filter(None, (account.account, *account.former_accounts))):
            if account_id != PLATFORM:
                yield _Account(f"account {account_id}", "STRIPE_API_KEY", platform, account_id)


async def _check_account(http: httpx.AsyncClient, base: str, account: _Account) -> CheckResult:
    headers = {"Authorization": f"Bearer {account.key}"}
    if account.account is not None:
        headers["Stripe-Account"] = account.account
    try:
        answer = await http.get(f"{base}/v1/checkout/sessions", params={"limit": 1}, headers=headers)
    except httpx.HTTPError as error:
        fix = "let this machine reach STRIPE_API_BASE (firewall, proxy); see status.stripe.com"
        return fault(AREA, account.name, f"{base}: {first_line(error)}", fix)
    if answer.status_code == httpx.codes.OK:
        return ok(AREA, account.name, f"{base}, {answer.elapsed.total_seconds() * 1000:.0f} ms")
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        found, fix = f"Stripe rejects {account.key_name}", "copy it from the dashboard, or create a new one there"
    elif answer.status_code == httpx.codes.FORBIDDEN and account.account is not None:
        found = f"{account.key_name} may not act as this account"
        fix = "correct the account in STRIPE_SHOPS, or connect it to the platform again"
    elif answer.status_code == httpx.codes.FORBIDDEN:
        found = "the restricted key may not read Checkout Sessions"
        fix = "give it write access to Checkout Sessions, PaymentIntents and Refunds"
    else:
        found, fix = f"Stripe answered {answer.status_code}", "see status.stripe.com, and try again"
    return fault(AREA, account.name, found, fix, (f"{AREA}: keys",))


def check_webhooks(metrics: str, now: float | None = None) -> CheckResult:
    """Check that webhooks arrive, by the /metrics of an API: the times are those of all APIs, the counts its own."""
    now = time.time() if now is None else now
    times: dict[str, float] = {}
    results: dict[str, float] = {}
    for sample in (each for family in text_string_to_metric_families(metrics) for each in family.samples):
        if sample.name == "inventory_stripe_event_total":
            result = sample.labels["result"]
            results[result] = results.get(result, 0) + sample.value
        else:
            times[sample.name] = sample.value
    wrong_mode = results.pop("wrong_mode", 0)
    refused = results.pop("invalid_signature", 0) + results.pop("malformed", 0)
    taken = sum(results.values())
    last = times.get("inventory_stripe_event_timestamp_seconds")
    due = times.get("inventory_stripe_event_due_timestamp_seconds", 0)
    if last is None:
        return not_applicable(AREA, "webhooks arrive", "the API cannot read the time of the last one")
    if wrong_mode and not taken:
        found = f"{wrong_mode:g} received since the API started, all of the other mode than STRIPE_API_KEY"
        return fault(AREA, "webhooks arrive", found, "use the key and the endpoint of the same mode")
    if refused and not taken:
        found = f"{refused:g} received since the API started, none signed with STRIPE_WEBHOOK_SECRET"
        return fault(AREA, "webhooks arrive", found, _COPY_FROM_STRIPE)
    arrived = f"the last one {_ago(now - last)}" if last else "none ever"
    if due > last + ARRIVING_SECONDS and now - due > _OVERDUE_SECONDS:
        fix = "in Stripe's dashboard, point an endpoint at <API>/api/webhooks/stripe and look at its deliveries"
        return fault(AREA, "webhooks arrive", f"{arrived}, though one was due {_ago(now - due)}", fix)
    if not last:
        return not_applicable(AREA, "webhooks arrive", "none ever, and none was due")
    rejected = f", {refused:g} rejected since the API started" if refused else ""
    rejected += f", {wrong_mode:g} of the other mode ignored" if wrong_mode else ""
    return ok(AREA, "webhooks arrive", f"{arrived}{rejected}")


def _ago(seconds: float) -> str:
    minutes = max(seconds, 0) / 60
    return f"{minutes:.0f} min ago" if minutes < 120 else f"{minutes / 60:.0f} h ago"  # noqa: PLR2004 - two hours
