"""Checks the API at INVENTORY_AUTHORITY_URL: its health, its tokens, and whether Stripe's webhooks arrive."""

from collections.abc import Mapping
from typing import Any

import httpx

from cli.doctor.results import CheckResult, fault, not_applicable, ok
from cli.doctor.settings import Environment, masked
from cli.doctor.stripe import check_webhooks
from cli.installation import api_origin
from core.error_messages import first_line
from domain.smoke import SMOKE_SHOP

AREA = "api"
_CALL_SECONDS = 5.0
_UNKNOWN = "INVENTORY_AUTHORITY_URL is not set"


async def check_api(environment: Environment, release: str) -> list[CheckResult]:
    """Check the API's health and token, and that webhooks arrive. `release` is this installation's version."""
    origin = api_origin(environment.variables)
    if origin is None:
        return [not_applicable(AREA, "answers", _UNKNOWN), not_applicable("stripe", "webhooks arrive", _UNKNOWN)]
    try:
        async with httpx.AsyncClient(base_url=origin, timeout=_CALL_SECONDS, trust_env=False) as http:
            answer = await http.get("/api/inventory/health")
            lines = [_check_health(answer.status_code, answer.json(), environment, release)]
            token = environment.settings.authority_tokens or environment.settings.admin_tokens
            if token:
                bearer = {"Authorization": f"Bearer {token[0].get_secret_value()}"}
                listed = await http.get("/api/inventory/holds", params={"shopId": SMOKE_SHOP}, headers=bearer)
                lines.append(_check_token(listed.status_code))
            metrics = (await http.get("/metrics")).text
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return _unreachable(f"{masked(origin)}: {first_line(error)}")
    except (ValueError, KeyError, TypeError):
        return _unreachable(f"{masked(origin)} is not Holdfast: unexpected health response")
    if not environment.settings.stripe_webhook_secrets:
        return [*lines, not_applicable("stripe", "webhooks arrive", "STRIPE_WEBHOOK_SECRET is not set")]
    return [*lines, check_webhooks(metrics)]


def _unreachable(found: str) -> list[CheckResult]:
    fix = "start it: holdfast api; or correct INVENTORY_AUTHORITY_URL"
    return [
        fault(AREA, "answers", found, fix),
        not_applicable("stripe", "webhooks arrive", "the API cannot be reached"),
    ]


def _check_health(status: int, health: Mapping[str, Any], environment: Environment, release: str) -> CheckResult:
    summary = f"{health['status']}, {health['mode']}, version {health['version']}"
    if status != httpx.codes.OK or health["status"] != "ok":
        checks = health.get("checks") or {}
        why = [f"{name}: {check['detail']}" for name, check in checks.items() if check.get("detail")]
        if health.get("bypassed"):
            why.append("the bypass is active")
        return fault(AREA, "answers", "; ".join([summary, *why]), "see the results of the checks that it names")
    if health["mode"] != environment.settings.mode:
        fix = "start both with the same INVENTORY_MODE"
        return fault(AREA, "answers", f"{summary}; this environment has {environment.settings.mode}", fix)
    if health["version"] != release:
        return fault(AREA, "answers", f"{summary}; this is {release}", "deploy the same release everywhere")
    return ok(AREA, "answers", summary)


def _check_token(status: int) -> CheckResult:
    if status == httpx.codes.UNAUTHORIZED:
        fix = "set the same INVENTORY_AUTHORITY_TOKEN in both, and restart the API"
        return fault(AREA, "token", "the API rejects this environment's token", fix)
    return ok(AREA, "token", "the API accepts this environment's token")
