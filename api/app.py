"""The application: one factory, which reads the settings, connects, and puts the routes together."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version

import structlog
from fastapi import FastAPI
from prometheus_client import REGISTRY, CollectorRegistry

from api.dependencies import Context
from api.errors import install_error_handlers
from api.gauges import Census
from api.middleware import BodyLimit, Timing
from api.openapi import DESCRIPTION
from api.routes import adjustments as corrections
from api.routes import checkout, holds, stock, system, webhooks
from api.routes import stock_files as stockfiles
from api.tracing import request_spans
from core.database import create_engine
from core.garbage_collection import collect_garbage_rarely
from core.logging import configure_logging
from core.metrics import Telemetry
from core.settings import TASK_QUEUE, Settings
from core.temporal import connect
from core.tracing import start_tracing
from holds.payments_service import Payments
from holds.service import Lifecycle
from holds.workflow_client import WorkflowCalls
from payments.client import open_client


def create_app(
    settings: Settings | None = None, *, task_queue: str = TASK_QUEUE, registry: CollectorRegistry = REGISTRY
) -> FastAPI:
    """Make the application of a process. Raises SettingsError where the environment is at fault or has no token."""
    if settings is None:
        settings = Settings.read()
        configure_logging(settings.log_format, traced=bool(settings.spans_url))
        collect_garbage_rarely()
    settings.require_tokens()
    telemetry = Telemetry(registry)
    telemetry.bypass.set(settings.bypass)
    tracing = start_tracing(settings, "holdfast-api")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine = create_engine(settings)
        stack = AsyncExitStack()
        stack.push_async_callback(tracing.close)
        stripe = None
        if settings.stripe_api_key is not None:
            key = settings.stripe_api_key.get_secret_value()
            stripe = await stack.enter_async_context(open_client(key, settings.stripe_api_base))
        temporal = await connect(settings.temporal_api_key, lazy=True, tracer_provider=tracing.provider)
        context = Context(settings, engine, temporal, telemetry, task_queue, stripe)
        calls = WorkflowCalls(context.temporal, task_queue)
        app.state.context = context
        app.state.census = Census(engine)
        app.state.lifecycle = Lifecycle(context, calls)
        app.state.payments = Payments(context, app.state.lifecycle, calls)
        log = structlog.get_logger("api")
        if settings.bypass:
            log.warning("SKIP_INVENTORY_VALIDATION is set: no request is checked against the stock", bypassed=True)
        if settings.backend == "prisma":
            log.warning("INVENTORY_BACKEND=prisma is read as postgres; set it so")
        try:
            yield
        finally:
            await engine.dispose()
            await stack.aclose()

    app = FastAPI(
        title="Holdfast",
        version=version("holdfast"),
        description=DESCRIPTION,
        lifespan=lifespan,
        telemetry=request_spans(tracing.provider),
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.include_router(holds.router)
    app.include_router(stock.router)
    app.include_router(checkout.router)
    app.include_router(webhooks.router)
    app.include_router(corrections.router)
    app.include_router(stockfiles.router)
    app.include_router(system.router)
    install_error_handlers(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(Timing, telemetry=telemetry)
    return app
