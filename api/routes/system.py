"""Health, liveness, readiness and metrics, for operations and load balancers, and `/`. None needs a token."""

import asyncio
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse, RedirectResponse
from prometheus_client import CONTENT_TYPE_LATEST
from sqlalchemy.ext.asyncio import AsyncEngine

from api.dependencies import resources_of
from api.responses import AliveOut, CheckOut, HealthOut
from core.database import DatabaseUnavailableError, NotMigratedError, PoolerUnknownError, fetch
from core.database_session import is_read_only
from core.settings import Mode, Settings
from core.timeouts import run_with_timeout
from holds.errors import HoldsError, NamespaceMissingError
from holds.workflow_client import WorkflowClient

router = APIRouter(tags=["system"])

_CHECK_SECONDS = 2.0
_UNAVAILABLE: dict[int | str, dict[str, Any]] = {503: {"model": HealthOut, "description": "It cannot do its work."}}


async def _check_database(engine: AsyncEngine, settings: Settings) -> CheckOut:
    try:
        return await run_with_timeout(_CHECK_SECONDS, _try_to_write(engine, settings))
    except Exception:  # noqa: BLE001 - whatever is wrong, the answer is that the database cannot be used
        return CheckOut(status="failed", reason="unreachable", detail="Postgres does not answer.")


async def _try_to_write(engine: AsyncEngine, settings: Settings) -> CheckOut:
    """Check as far as a row lock, which a replica refuses, and which needs the right to write."""
    try:
        await fetch(engine, 'SELECT FROM "InventoryItem" LIMIT 0 FOR NO KEY UPDATE', {})
    except NotMigratedError:
        detail = "The tables are not there; run: holdfast migrate"
        return CheckOut(status="failed", reason="not_migrated", detail=detail)
    except PoolerUnknownError as error:
        return CheckOut(status="failed", reason="pooler_unknown", detail=str(error))
    except DatabaseUnavailableError:
        if not await is_read_only(settings):
            raise
        detail = "Postgres is read-only: a replica, or default_transaction_read_only is on."
        return CheckOut(status="failed", reason="read_only", detail=detail)
    return CheckOut(status="ok")


async def _check_temporal(workflows: WorkflowClient) -> CheckOut:
    try:
        await run_with_timeout(_CHECK_SECONDS, workflows.check_health())
    except NamespaceMissingError as error:
        return CheckOut(status="failed", reason="namespace_missing", detail=str(error))
    except (HoldsError, TimeoutError):
        return CheckOut(status="failed", reason="unreachable", detail="Temporal does not answer.")
    return CheckOut(status="ok")


async def _health(request: Request) -> HealthOut:
    resources = resources_of(request)
    settings = resources.settings
    database, temporal = await asyncio.gather(
        _check_database(resources.engine, settings), _check_temporal(resources.workflows)
    )
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


@router.head("/api/inventory/health", include_in_schema=False)
@router.get("/api/inventory/health", summary="Health check", responses=_UNAVAILABLE)
async def health(request: Request, response: Response) -> HealthOut:
    """Tell whether it can do its work: 200 `ok` or `degraded` (it answers, but not as it should run), else 503."""
    found = await _health(request)
    if found.status == "unavailable":
        response.status_code = 503
    return found


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", summary="Readiness check", responses=_UNAVAILABLE)
async def readyz(request: Request, response: Response) -> HealthOut:
    """Tell a load balancer whether to send requests here; the same answer as health."""
    return await health(request, response)


@router.head("/livez", include_in_schema=False)
@router.get("/livez", summary="Liveness check")
async def livez() -> AliveOut:
    """Answer, which is all that liveness asks."""
    return AliveOut()


@router.get("/", include_in_schema=False)
async def root(request: Request) -> RedirectResponse:
    """Lead people to the documentation."""
    return RedirectResponse(f"{request.scope.get('root_path', '')}/docs")


@router.head("/metrics", include_in_schema=False)
@router.get("/metrics", summary="Prometheus metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Serve the metrics of all the API's processes and, where Postgres answers, the active holds."""
    resources = resources_of(request)
    text = await resources.metrics_text.read() + await resources.gauges.read()
    return Response(text, media_type=CONTENT_TYPE_LATEST)
