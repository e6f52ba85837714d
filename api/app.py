"""The application factory: reads the settings, makes the connections and the services, and adds the routes."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import structlog
from fastapi import Depends, FastAPI
from fastapi_offline import FastAPIOffline
from prometheus_client import REGISTRY, CollectorRegistry

from activities.stock import StockActivities
from api.admission import Admission
from api.browser_cors import BrowserCors
from api.dependencies import Resources
from api.error_handlers import install_error_handlers
from api.gauges import HoldGauges
from api.hold_streams import HoldStreams
from api.hold_worker import hold_worker
from api.http_protocol import ConnectionLimits
from api.metrics_text import MetricsText
from api.middleware import BodyLimit, Timing
from api.openapi import DESCRIPTION, describe_request_ids
from api.parameters import refuse_repeated
from api.readiness import Readiness
from api.routes import (
    adjustments,
    approvals,
    browser,
    checkout,
    hold_checkout,
    holds,
    orders,
    stock,
    stock_files,
    system,
    webhooks,
)
from api.tracing import request_spans
from core.database import create_engine
from core.garbage_collection import collect_garbage_rarely
from core.logging import configure_logging
from core.metrics import Telemetry
from core.release import release
from core.settings import TASK_QUEUE, Mode, Settings
from core.start_line import start_fields
from core.temporal import connect
from core.tracing import start_tracing
from core.worker_cache import cached_by_api
from holds.amending import AmendService
from holds.approvals import ApprovalService
from holds.committing import CommitService
from holds.orders import OrderService
from holds.payments_service import PaymentsService
from holds.runs_here import RunsHere
from holds.service import HoldService
from holds.workflow_client import WorkflowClient
from payments.accounts import open_accounts


def create_app(
    settings: Settings | None = None, *, task_queue: str = TASK_QUEUE, registry: CollectorRegistry = REGISTRY
) -> FastAPI:
    """Make the application of a process. Raises SettingsError for invalid settings or without a token."""
    if settings is None:
        settings = Settings.read()
        configure_logging(settings.log_format, traced=bool(settings.spans_url))
        collect_garbage_rarely(cached_by_api())
    settings.require_tokens()
    telemetry = Telemetry(registry)
    telemetry.bypass.set(settings.bypass)
    tracing = start_tracing(settings, "holdfast-api")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Mapping[str, object]]:
        engine = create_engine(settings)
        stack = AsyncExitStack()
        stack.push_async_callback(tracing.close)
        accounts = await stack.enter_async_context(open_accounts(settings))
        temporal = await connect(settings.temporal_api_key, lazy=True, tracer_provider=tracing.provider)
        limits = ConnectionLimits.choose(settings, telemetry.connection_closed)
        streams = HoldStreams(engine, limits.connections // 2, telemetry.browser_streams.set)
        runs_here = RunsHere()
        workflows = WorkflowClient(temporal, task_queue, runs_here)
        holds_service = HoldService(engine, workflows, settings)
        readiness = Readiness(settings, temporal, task_queue)
        app.state.resources = Resources(
            settings=settings,
            engine=engine,
            telemetry=telemetry,
            workflows=workflows,
            holds=holds_service,
            payments=PaymentsService(engine, holds_service, workflows, settings, accounts),
            approvals=ApprovalService(engine, settings),
            amendments=AmendService(engine, holds_service, workflows, settings),
            commits=CommitService(holds_service, workflows, settings, accounts),
            gauges=HoldGauges(engine, workflows.open_late_payments),
            orders=OrderService(engine, temporal, settings, task_queue),
            metrics_text=MetricsText(registry),
            readiness=readiness,
            streams=streams,
            admission=Admission(settings, telemetry),
        )
        cached_holds = cached_by_api() if _runs_holds(settings) else 0
        log = structlog.get_logger("api")
        log.info("API starts", **start_fields(settings), connections=limits.connections, cached_holds=cached_holds)
        if settings.bypass:
            log.warning("SKIP_INVENTORY_VALIDATION is set: no request is checked against the stock", bypassed=True)
        if settings.backend == "prisma":
            log.warning("INVENTORY_BACKEND=prisma is read as postgres; set it so")
        if limits.connections < settings.api_connections:
            log.warning("HOLDFAST_API_CONNECTIONS is lowered: too few open files", connections=limits.connections)
        await stack.enter_async_context(readiness.kept_up())
        if cached_holds:
            await stack.enter_async_context(
                hold_worker(
                    settings,
                    StockActivities(engine, telemetry, settings.late_payment_policy, settings.buyer_limits, runs_here),
                    runs_here,
                    task_queue=task_queue,
                    cached_holds=cached_holds,
                    tracer_provider=tracing.provider,
                )
            )
        try:
            yield {"connection_limits": limits, "streams": streams}  # read by the server's protocol
        finally:
            await streams.aclose()
            await holds_service.gone_callers.close()
            await stack.aclose()
            await engine.dispose()

    app = FastAPIOffline(  # /docs without a request to another host
        redoc_url=None,  # ReDoc loads a logo from its maker's host
        title="Holdfast",
        version=release(),
        description=DESCRIPTION,
        lifespan=lifespan,
        dependencies=[Depends(refuse_repeated)],
        telemetry=request_spans(tracing.provider),
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    for routes in (
        holds,
        hold_checkout,
        browser,
        orders,
        stock,
        checkout,
        approvals,
        webhooks,
        adjustments,
        stock_files,
        system,
    ):
        app.include_router(routes.router)
    describe = app.openapi
    app.openapi = lambda: app.openapi_schema or describe_request_ids(describe())  # type: ignore[method-assign]
    install_error_handlers(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(BrowserCors, settings=settings)
    app.add_middleware(Timing, telemetry=telemetry)
    return app


def _runs_holds(settings: Settings) -> bool:
    # Temporal returns a first task with the start to workers of any build: routing by build would not hold.
    return settings.api_runs_holds and settings.mode is Mode.RESERVE_TTL and not settings.worker_build_id
