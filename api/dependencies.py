"""What the routes of a process share: settings, engine, Temporal client, telemetry."""

from dataclasses import dataclass

from fastapi import Request
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from core.metrics import Telemetry
from core.settings import Settings
from payments.client import PaymentClient


@dataclass(frozen=True, slots=True)
class Context:
    """Made once at start-up, closed at the end."""

    settings: Settings
    engine: AsyncEngine
    temporal: Client
    telemetry: Telemetry
    task_queue: str
    stripe: PaymentClient | None = None
    """None where no key is set."""


def context_of(request: Request) -> Context:
    """Return the process's context."""
    context: Context = request.app.state.context
    return context
