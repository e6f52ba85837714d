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
_CAUSES = {
    "postgres_write": ("database: reachable", "database: version", "database: writes"),
    "migrations": ("database: migrations", "database: tables"),
    "temporal": ("temporal: reachable",),
    "namespace": ("temporal: namespace",),
    "search_attributes": ("temporal: search attributes",),
    "workers": ("temporal: workers", "temporal: worker answers"),
}
"""By the names of health's parts, which of the doctor's faults explain a failed one."""
_START = "start it: holdfast api; or correct INVENTORY_AUTHORITY_URL"
_HANGS = "see the log of the API and the load of its machine; restart it if it hangs"
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
    except httpx.ReadTimeout:
        return _unreachable(f"{masked(origin)} accepts the connection and does not answer", _HANGS)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return _unreachable(f"{masked(origin)}: {first_line(error)}", _START)
    except (ValueError, KeyError, TypeError):
        return _unreachable(f"{masked(origin)} is not Holdfast: unexpected health response", _START)
    if not environment.settings.stripe_webhook_secrets:
        return [*lines, not_applicable("stripe", "webhooks arrive", "STRIPE_WEBHOOK_SECRET is not set")]
    return [*lines, check_webhooks(metrics)]


def _unreachable(found: str, fix: str) -> list[CheckResult]:
    return [
        fault(AREA, "answers", found, fix),
        not_applicable("stripe", "webhooks arrive", "the API cannot be reached"),
    ]


def _check_health(status: int, health: Mapping[str, Any], environment: Environment, release: str) -> CheckResult:
    summary = f"{health['status']}, {health['mode']}, version {health['version']}"
    if status != httpx.codes.OK or health["status"] != "ok":
        failed = {name: part for name, part in (health.get("parts") or {}).items() if part["status"] == "failed"}
        why = [f"{name}: {part['detail']}" for name, part in failed.items()]
        if health.get("bypassed"):
            why.append("the bypass is active")
        causes = [cause for name in failed for cause in _CAUSES.get(name, ())]
        fix = "compare the API's environment with this one, in which what it names is right"
        found = "; ".join([summary, *why])
        return fault(AREA, "answers", found, fix, [*causes, "settings: SKIP_INVENTORY_VALIDATION"])
    if health["mode"] != environment.settings.mode:
        found = f"{summary}; this environment has {environment.settings.mode}"
        return fault(AREA, "answers", found, "start both with the same INVENTORY_MODE", ("settings: INVENTORY_MODE",))
    if health["version"] != release:
        return fault(AREA, "answers", f"{summary}; this is {release}", "deploy the same release everywhere")
    return ok(AREA, "answers", summary)


def _check_token(status: int) -> CheckResult:
    if status == httpx.codes.UNAUTHORIZED:
        fix = "set the same INVENTORY_AUTHORITY_TOKEN in both, and restart the API"
        return fault(AREA, "token", "the API rejects this environment's token", fix)
    return ok(AREA, "token", "the API accepts this environment's token")
