"""The doctor on the API, where its address is known."""

from collections.abc import Mapping
from typing import Any

import httpx
import psycopg

from cli.doctor.lines import Line, fault, first_line, not_applicable, ok
from cli.doctor.settings import Environment, masked
from cli.doctor.stripe import webhook_line
from cli.installation import api_origin
from core.database import connection_info

AREA = "api"
_CALL_SECONDS = 5.0
_HEARD = """
SELECT bool_or("committedAt" < "expiresAt") FROM "InventoryHold"
WHERE "createdAt" > now() - interval '2 hours' AND "paymentSessionId" IS NOT NULL
  AND status = 'committed' AND reason = 'payment'
"""
"""An event sells a hold when it comes. Where none does, Holdfast learns of the payment when it asks at the deadline."""
_UNKNOWN = "INVENTORY_AUTHORITY_URL is not set: the API's address is not known"


async def api_lines(environment: Environment, release: str) -> list[Line]:
    """Say how the API says that it is, and whether Stripe's webhooks reach it."""
    origin = api_origin(environment.variables)
    if origin is None:
        return [not_applicable(AREA, "answers", _UNKNOWN), not_applicable("stripe", "webhooks arrive", _UNKNOWN)]
    try:
        async with httpx.AsyncClient(base_url=origin, timeout=_CALL_SECONDS, trust_env=False) as http:
            answer = await http.get("/api/inventory/health")
            lines = [_health_line(answer.status_code, answer.json(), environment, release)]
            token = environment.settings.authority_tokens or environment.settings.admin_tokens
            if token:
                bearer = {"Authorization": f"Bearer {token[0].get_secret_value()}"}
                asked = await http.get("/api/inventory/holds", params={"shopId": "holdfast-smoke"}, headers=bearer)
                lines.append(_token_line(asked.status_code))
            metrics = (await http.get("/metrics")).text
    except httpx.HTTPError as error:
        return _not_reached(f"{masked(origin)}: {first_line(error)}")
    except (ValueError, KeyError, TypeError):
        return _not_reached(f"{masked(origin)} is no Holdfast: its health is not one")
    if not environment.settings.stripe_webhook_secrets:
        return [*lines, not_applicable("stripe", "webhooks arrive", "STRIPE_WEBHOOK_SECRET is not set")]
    return [*lines, webhook_line(metrics, payments_heard=await payments_heard(environment))]


def _not_reached(found: str) -> list[Line]:
    fix = "start it: holdfast api; or set INVENTORY_AUTHORITY_URL right"
    return [
        fault(AREA, "answers", found, fix),
        not_applicable("stripe", "webhooks arrive", "the API is not reached"),
    ]


def _health_line(status: int, health: Mapping[str, Any], environment: Environment, release: str) -> Line:
    told = f"{health['status']}, {health['mode']}, version {health['version']}"
    if status != httpx.codes.OK or health["status"] != "ok":
        checks = health.get("checks") or {}
        why = [f"{name}: {check['detail']}" for name, check in checks.items() if check.get("detail")]
        if health.get("bypassed"):
            why.append("the bypass is in force")
        return fault(AREA, "answers", "; ".join([told, *why]), "see the lines of what it names")
    if health["mode"] != environment.settings.mode:
        fix = "start both with the same INVENTORY_MODE"
        return fault(AREA, "answers", f"{told}; this environment says {environment.settings.mode}", fix)
    if health["version"] != release:
        return fault(AREA, "answers", f"{told}; this is {release}", "deploy the same release everywhere")
    return ok(AREA, "answers", told)


def _token_line(status: int) -> Line:
    if status == httpx.codes.UNAUTHORIZED:
        fix = "give both the same INVENTORY_AUTHORITY_TOKEN, and restart the API"
        return fault(AREA, "token", "the API does not know this environment's token", fix)
    return ok(AREA, "token", "the API takes this environment's token")


async def payments_heard(environment: Environment) -> bool | None:
    """Whether a payment of the last two hours was heard of before its hold's deadline, by whichever API.

    None where no payment has sold a hold since, or the database cannot be asked.
    """
    try:
        connection = await psycopg.AsyncConnection.connect(connection_info(environment.settings), autocommit=True)
        async with connection:
            row = await (await connection.execute(_HEARD)).fetchone()
    except psycopg.Error:
        return None
    return row[0] if row else None
