"""The application: one factory, which reads the settings, connects, and puts the routes together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

import structlog
from fastapi import FastAPI
from prometheus_client import REGISTRY, CollectorRegistry

from api.context import Context
from api.documentation import DESCRIPTION
from api.errors import install_error_handlers
from api.lifecycle import Lifecycle
from api.limits import BodyLimit, Timing
from api.routes import corrections, holds, stock, stockfiles, system
from inventory.engine import create_engine
from inventory.settings import TASK_QUEUE, Settings
from inventory.telemetry import Telemetry, configure_logging
from workflows.connection import connect


def create_app(
    settings: Settings | None = None, *, task_queue: str = TASK_QUEUE, registry: CollectorRegistry = REGISTRY
) -> FastAPI:
    """Make the application of a process. Raises SettingsError where the environment is at fault or has no token."""
    if settings is None:
        settings = Settings.read()
        configure_logging(settings.log_format)
    settings.require_tokens()
    telemetry = Telemetry(registry)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine = create_engine(settings)
        context = Context(settings, engine, await connect(lazy=True), telemetry, task_queue)
        app.state.context = context
        app.state.lifecycle = Lifecycle(context)
        log = structlog.get_logger("api")
        if settings.bypass:
            log.warning("SKIP_INVENTORY_VALIDATION is set: no request is checked against the stock", bypassed=True)
        if settings.backend == "prisma":
            log.warning("INVENTORY_BACKEND=prisma is read as postgres; set it so")
        try:
            yield
        finally:
            await engine.dispose()

    app = FastAPI(
        title="Holdfast",
        version=version("holdfast"),
        description=DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.include_router(holds.router)
    app.include_router(stock.router)
    app.include_router(corrections.router)
    app.include_router(stockfiles.router)
    app.include_router(system.router)
    install_error_handlers(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(Timing, telemetry=telemetry)
    return app
