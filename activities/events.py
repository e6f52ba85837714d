"""The activity that delivers an event: one signed POST per attempt, acknowledged by the receiver with 2xx."""

from datetime import UTC, datetime, timedelta
from importlib.metadata import version

import httpx
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.signing import sign
from core.metrics import Telemetry
from core.settings import Settings
from workflows.deliveries import Delivery, EventsPort, Receiver

_TIMEOUT = httpx.Timeout(10.0, connect=5.0)
"""Together shorter than ATTEMPT_TIMEOUT of the activity."""
_LONGEST_WAIT = timedelta(minutes=10)


def make_http_client() -> httpx.AsyncClient:
    """Return the HTTP client. It follows no redirect: only the configured URL receives events."""
    agent = {"User-Agent": f"holdfast/{version('holdfast')}"}
    return httpx.AsyncClient(timeout=_TIMEOUT, follow_redirects=False, headers=agent)


class EventActivities(EventsPort):
    """Implements EventsPort over HTTP."""

    def __init__(self, http: httpx.AsyncClient, settings: Settings, telemetry: Telemetry) -> None:
        self._http = http
        self._telemetry = telemetry
        self._urls: dict[Receiver, str] = {"hold-events": settings.events_url, "stock-alerts": settings.alert_url}
        self._secrets = {"hold-events": settings.events_secrets, "stock-alerts": settings.alert_secrets}

    @activity.defn(name="post-event")
    async def post_event(self, delivery: Delivery) -> None:
        """Post the event. Raises ApplicationError unless the receiver acknowledged it with 2xx."""
        url = self._urls[delivery.receiver]
        if not url:  # removed from the settings since the event
            return
        post = sign(delivery.event, self._secrets[delivery.receiver], datetime.now(UTC))
        try:
            # The answer's body is not read, so that its size does not matter.
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
        """Log and count the lost event; a person has to inform the receiver."""
        self._telemetry.fail(
            "inventory_event_lost",
            type=delivery.event.type,
            event_id=delivery.event.id,
            receiver=delivery.receiver,
            data=delivery.event.data,
            problem="the receiver did not acknowledge this event within three days; it is given up",
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
