"""Delivery of events: one signed POST an attempt, answered 2xx by a receiver that has it."""

from datetime import UTC, datetime, timedelta
from importlib.metadata import version

import httpx
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.signing import signed
from core.metrics import Telemetry
from core.settings import Settings
from workflows.deliveries import Delivery, EventsPort, Receiver

_TIMEOUT = httpx.Timeout(10.0, connect=5.0)
"""Of connecting, and of each read: with both, an attempt still ends within its activity's time."""
_LONGEST_WAIT = timedelta(minutes=10)


def make_http() -> httpx.AsyncClient:
    """Make the client that delivers. It follows no redirect: a receiver is where the setting says."""
    agent = {"User-Agent": f"holdfast/{version('holdfast')}"}
    return httpx.AsyncClient(timeout=_TIMEOUT, follow_redirects=False, headers=agent)


class EventActivities(EventsPort):
    """EventsPort over HTTP."""

    def __init__(self, http: httpx.AsyncClient, settings: Settings, telemetry: Telemetry) -> None:
        self._http = http
        self._telemetry = telemetry
        self._urls: dict[Receiver, str] = {"hold-events": settings.events_url, "stock-alerts": settings.alert_url}
        self._secrets = {"hold-events": settings.events_secrets, "stock-alerts": settings.alert_secrets}

    @activity.defn(name="post-event")
    async def post_event(self, delivery: Delivery) -> None:
        """Post the event. Raises unless its receiver has answered that it has it."""
        url = self._urls[delivery.receiver]
        if not url:  # it was taken out of the settings: nobody waits for it any more
            return
        post = signed(delivery.event, self._secrets[delivery.receiver], datetime.now(UTC))
        try:
            # The answer's body is not read: a receiver that sends without end costs nothing.
            async with self._http.stream("POST", url, content=post.body, headers=post.headers) as answer:
                status, retry_after = answer.status_code, answer.headers.get("Retry-After", "")
        except httpx.HTTPError as error:
            raise self._failed(delivery, f"{type(error).__name__} {error}".strip()) from error
        if not 200 <= status < 300:  # noqa: PLR2004 - success, as HTTP has it
            wait = timedelta(seconds=int(retry_after)) if retry_after.isdecimal() and len(retry_after) < 6 else None  # noqa: PLR2004
            raise self._failed(delivery, f"answered {status}", min(wait, _LONGEST_WAIT) if wait else None)
        self._telemetry.count(
            "inventory_event_delivered",
            type=delivery.event.type,
            event_id=delivery.event.id,
            receiver=delivery.receiver,
            attempt=activity.info().attempt,
        )

    @activity.defn(name="give-up-event")
    async def give_up_event(self, delivery: Delivery) -> None:
        """Log an error and count it; a person has to tell the receiver."""
        self._telemetry.fail(
            "inventory_event_lost",
            type=delivery.event.type,
            event_id=delivery.event.id,
            receiver=delivery.receiver,
            data=delivery.event.data,
            problem="the receiver did not take this event for three days; it is not tried again",
        )

    def _failed(self, delivery: Delivery, problem: str, wait: timedelta | None = None) -> ApplicationError:
        self._telemetry.warn(
            "inventory_event_error",
            type=delivery.event.type,
            event_id=delivery.event.id,
            receiver=delivery.receiver,
            problem=problem,
        )
        return ApplicationError(f"{delivery.receiver}: {problem}", type="undelivered", next_retry_delay=wait)
