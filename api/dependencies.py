"""What the routes of a process share, and the FastAPI dependencies that hand it to them."""

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, TypeVar

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncEngine

from api.admission import Admission
from api.gauges import HoldGauges
from api.hold_streams import HoldStreams
from api.metrics_text import MetricsText
from api.readiness import Readiness
from core.metrics import Telemetry
from core.settings import Settings
from holds.amending import AmendService
from holds.approvals import ApprovalService
from holds.committing import CommitService
from holds.orders import OrderService
from holds.payments_service import PaymentsService
from holds.request_timeout import run_for_caller
from holds.service import HoldService
from holds.workflow_client import WorkflowClient

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Resources:
    """Made once when the process starts, closed when it ends."""

    settings: Settings
    engine: AsyncEngine
    telemetry: Telemetry
    workflows: WorkflowClient
    holds: HoldService
    payments: PaymentsService
    approvals: ApprovalService
    amendments: AmendService
    commits: CommitService
    orders: OrderService
    gauges: HoldGauges
    metrics_text: MetricsText
    readiness: Readiness
    streams: HoldStreams
    admission: Admission


class TimeLimit(Protocol):
    """Bounds the work of one request."""

    async def __call__(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        """Return the result of `work`. Raises RequestTimeoutError after INVENTORY_REQUEST_TIMEOUT_MS."""


def resources_of(request: Request) -> Resources:
    """Return the resources of the process."""
    resources: Resources = request.app.state.resources
    return resources


# Async, though they await nothing: FastAPI runs a plain function in a thread, for each request.


async def _settings(request: Request) -> Settings:
    return resources_of(request).settings


async def _engine(request: Request) -> AsyncEngine:
    return resources_of(request).engine


async def _telemetry(request: Request) -> Telemetry:
    return resources_of(request).telemetry


async def _holds(request: Request) -> HoldService:
    return resources_of(request).holds


async def _payments(request: Request) -> PaymentsService:
    return resources_of(request).payments


async def _approvals(request: Request) -> ApprovalService:
    return resources_of(request).approvals


async def _streams(request: Request) -> HoldStreams:
    return resources_of(request).streams


async def _admission(request: Request) -> Admission:
    return resources_of(request).admission


async def _amendments(request: Request) -> AmendService:
    return resources_of(request).amendments


async def _commits(request: Request) -> CommitService:
    return resources_of(request).commits


async def _orders(request: Request) -> OrderService:
    return resources_of(request).orders


async def _time_limit(request: Request) -> TimeLimit:
    milliseconds = resources_of(request).settings.request_timeout_ms

    async def run(work: Coroutine[Any, Any, Answer]) -> Answer:
        return await run_for_caller(milliseconds, work)

    return run


SettingsDep = Annotated[Settings, Depends(_settings)]
EngineDep = Annotated[AsyncEngine, Depends(_engine)]
TelemetryDep = Annotated[Telemetry, Depends(_telemetry)]
HoldsDep = Annotated[HoldService, Depends(_holds)]
AdmissionDep = Annotated[Admission, Depends(_admission)]
PaymentsDep = Annotated[PaymentsService, Depends(_payments)]
ApprovalsDep = Annotated[ApprovalService, Depends(_approvals)]
StreamsDep = Annotated[HoldStreams, Depends(_streams)]
AmendmentsDep = Annotated[AmendService, Depends(_amendments)]
CommitsDep = Annotated[CommitService, Depends(_commits)]
OrdersDep = Annotated[OrderService, Depends(_orders)]
TimeLimitDep = Annotated[TimeLimit, Depends(_time_limit)]
