"""The application: one factory, which reads the settings, connects, and puts the routes together."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version

import structlog
from fastapi import FastAPI
from prometheus_client import REGISTRY, CollectorRegistry

from api.census import Census
from api.context import Context
from api.documentation import DESCRIPTION
from api.errors import install_error_handlers
from api.lifecycle import Lifecycle
from api.limits import BodyLimit, Timing
from api.payments import Payments
from api.routes import checkout, corrections, holds, stock, stockfiles, system, webhooks
from api.tracing import request_spans
from api.workflow_calls import WorkflowCalls
from inventory.collector import collect_rarely
from inventory.engine import create_engine
from inventory.settings import TASK_QUEUE, Settings
from inventory.telemetry import Telemetry, configure_logging
from inventory.tracing import start_tracing
from payments.gateway import connected
from workflows.connection import connect


def create_app(
    settings: Settings | None = None, *, task_queue: str = TASK_QUEUE, registry: CollectorRegistry = REGISTRY
) -> FastAPI:
    """Make the application of a process. Raises SettingsError where the environment is at fault or has no token."""
    if settings is None:
        settings = Settings.read()
        configure_logging(settings.log_format, traced=bool(settings.spans_url))
        collect_rarely()
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
            stripe = await stack.enter_async_context(connected(key, settings.stripe_api_base))
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
