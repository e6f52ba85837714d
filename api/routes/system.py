"""Health, liveness, readiness and metrics, for operations and load balancers, and `/`. None needs a token."""

from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse, RedirectResponse
from prometheus_client import CONTENT_TYPE_LATEST

from api.dependencies import resources_of
from api.readiness import Look, fix_of
from api.readiness_checks import Part
from api.responses import AliveOut, HealthOut

router = APIRouter(tags=["system"])

_UNAVAILABLE: dict[int | str, dict[str, Any]] = {503: {"model": HealthOut, "description": "It cannot do its work."}}
_CHECKS: dict[str, tuple[Part, ...]] = {
    "database": ("postgres_write", "migrations"),
    "temporal": ("temporal", "namespace", "search_attributes"),
}
"""The parts of each dependency."""


async def _health(request: Request) -> HealthOut:
    resources = resources_of(request)
    settings = resources.settings
    look = await resources.readiness.read()
    degraded = settings.bypass or look.failing is not None
    return HealthOut.model_validate(
        {
            "status": "unavailable" if not look.ready else "degraded" if degraded else "ok",
            "mode": settings.mode,
            "bypassed": settings.bypass,
            "version": version("holdfast"),
            "failing": look.failing,
            "checks": {name: _check(look, parts) for name, parts in _CHECKS.items()},
            "parts": {part: _part(look, part) for part in look.parts},
        }
    )


def _check(look: Look, parts: tuple[Part, ...]) -> dict[str, object]:
    failed = next((found for part in parts if (found := look.parts[part]).failed), None)
    return {"status": "failed", "reason": failed.reason, "detail": failed.detail} if failed else {"status": "ok"}


def _part(look: Look, part: Part) -> dict[str, object]:
    found, needed = look.parts[part], part in look.needed
    if found.failed:
        fix = fix_of(part)
        return {"status": "failed", "needed": needed, "reason": found.reason, "detail": found.detail, "fix": fix}
    return {"status": "ok" if found.ok else "unknown", "needed": needed}


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
    """Serve the metrics of all the API's processes, its readiness and, where Postgres answers, the active holds."""
    resources = resources_of(request)
    text = await resources.metrics_text.read() + await resources.gauges.read() + resources.readiness.text()
    return Response(text, media_type=CONTENT_TYPE_LATEST)
