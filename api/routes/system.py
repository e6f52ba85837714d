"""What operations and load balancers ask: health, liveness, readiness, metrics. None needs a token."""

import asyncio
import os
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from api.dependencies import Context, context_of
from api.errors import ApiError, CrowdedError
from api.gauges import Census
from api.responses import AliveOut, CheckOut, HealthOut
from api.routes.holds import lifecycle_of
from core.database import NotMigratedError, fetch
from core.settings import Mode
from core.timeouts import within

router = APIRouter(tags=["system"])

_CHECK_SECONDS = 2.0
_UNAVAILABLE: dict[int | str, dict[str, Any]] = {503: {"model": HealthOut, "description": "It cannot do its work."}}


async def _check_database(context: Context) -> CheckOut:
    try:
        await within(_CHECK_SECONDS, fetch(context.engine, 'SELECT FROM "InventoryItem" LIMIT 0', {}))
    except NotMigratedError:
        return CheckOut(status="failed", detail="The tables are not there; run: holdfast migrate")
    except Exception:  # noqa: BLE001 - whatever is wrong, the answer is that the database cannot be used
        return CheckOut(status="failed", detail="Postgres does not answer.")
    return CheckOut(status="ok")


async def _check_temporal(request: Request) -> CheckOut:
    try:
        await within(_CHECK_SECONDS, lifecycle_of(request).temporal_is_up())
    except (ApiError, CrowdedError, TimeoutError):
        return CheckOut(status="failed", detail="Temporal does not answer.")
    return CheckOut(status="ok")


async def _health(request: Request) -> HealthOut:
    context = context_of(request)
    settings = context.settings
    database, temporal = await asyncio.gather(_check_database(context), _check_temporal(request))
    needed = [] if settings.bypass else [database]
    if settings.mode is Mode.RESERVE_TTL and not settings.bypass:
        needed.append(temporal)
    if any(check.status == "failed" for check in needed):
        status = "unavailable"
    elif settings.bypass or "failed" in (database.status, temporal.status):
        status = "degraded"
    else:
        status = "ok"
    return HealthOut.model_validate(
        {
            "status": status,
            "mode": settings.mode,
            "bypassed": settings.bypass,
            "version": version("holdfast"),
            "checks": {"database": database.model_dump(), "temporal": temporal.model_dump()},
        }
    )


@router.get("/api/inventory/health", summary="How Holdfast is", responses=_UNAVAILABLE)
async def health(request: Request, response: Response) -> HealthOut:
    """Tell whether it can do its work: 200 `ok` or `degraded` (it answers, but not as it should run), else 503."""
    found = await _health(request)
    if found.status == "unavailable":
        response.status_code = 503
    return found


@router.get("/readyz", summary="Ready for requests?", responses=_UNAVAILABLE)
async def readyz(request: Request, response: Response) -> HealthOut:
    """Tell a load balancer whether to send requests here; the same answer as health."""
    return await health(request, response)


@router.get("/livez", summary="Alive?")
async def livez() -> AliveOut:
    """Answer, which is all that liveness asks."""
    return AliveOut()


@router.get("/metrics", summary="Prometheus metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Serve the metrics of all the API's processes and, where Postgres answers, the active holds."""
    context = context_of(request)
    registry = context.telemetry.registry
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    text = await run_in_threadpool(generate_latest, registry)
    census: Census = request.app.state.census
    await census.ask()
    return Response(text + generate_latest(census), media_type=CONTENT_TYPE_LATEST)
