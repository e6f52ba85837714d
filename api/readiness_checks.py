"""Looks at each part that holds need: Postgres and its schema; Temporal, its namespace, and the workers."""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import psycopg
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.api.enums.v1 import NamespaceState
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from core.database import (
    DatabaseBusyError,
    DatabaseUnavailableError,
    NotMigratedError,
    PoolerUnknownError,
    fetch,
)
from core.database_session import is_read_only
from core.error_messages import first_line
from core.polling import Freshness, last_poll_of_workers
from core.search_attributes import refused_attributes, search_attributes_of
from core.settings import Settings
from migrations.released import released_revisions
from workflows.messages import SEARCH_ATTRIBUTES, SKU_ATTRIBUTE

Part = Literal["postgres_write", "migrations", "temporal", "namespace", "search_attributes", "workers"]
Reason = Literal[
    "unreachable",
    "read_only",
    "locked",
    "refused",
    "not_migrated",
    "pooler_unknown",
    "namespace_missing",
    "namespace_retired",
    "search_attributes_missing",
    "none_polls",
]
Parts = Mapping[Part, "Found"]
"""What a look found; a part that is left out cannot be known, because another one failed."""

_CALL = timedelta(seconds=2)
_ATTRIBUTES_SECONDS = 30.0
"""How long search attributes that fail no hold are not looked at again: they hardly ever change."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a look found of a part. Not `ok` and without a reason: it cannot be known, because another part failed."""

    ok: bool
    reason: Reason | None = None
    """Why it failed, for programs; `detail` is for people."""
    detail: str | None = None

    @property
    def failed(self) -> bool:
        """Whether it is known to have failed."""
        return self.reason is not None


OK = Found(ok=True)
UNKNOWN = Found(ok=False)


def _failed(reason: Reason, detail: str) -> Found:
    return Found(ok=False, reason=reason, detail=detail)


_NO_ANSWER = _failed("unreachable", "Postgres does not answer.")
NO_POSTGRES: Parts = {"postgres_write": _NO_ANSWER}
NO_TEMPORAL: Parts = {"temporal": _failed("unreachable", "Temporal does not answer.")}


class PostgresChecks:
    """Looks at Postgres through an engine of its own: a pool that requests keep busy is no failure of Postgres."""

    def __init__(self, engine: AsyncEngine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        self._revisions = released_revisions()

    async def look(self) -> Parts:
        """Look at the schema, then as far as a row lock, which a replica refuses and which needs the right to write."""
        found: dict[Part, Found] = {}
        try:
            found["migrations"] = await self._migrations()
            await fetch(self._engine, 'SELECT FROM "InventoryItem" LIMIT 0 FOR NO KEY UPDATE', {})
        except NotMigratedError:
            found["migrations"] = self._not_at_head(())
        except (DatabaseBusyError, DatabaseUnavailableError, psycopg.Error) as error:
            found["postgres_write"] = await self._why_not(error)
        else:
            found["postgres_write"] = OK
        return found

    async def _why_not(self, error: Exception) -> Found:
        if isinstance(error, PoolerUnknownError):
            return _failed("pooler_unknown", str(error))
        if isinstance(error, DatabaseBusyError):
            return _failed("locked", 'Postgres grants no lock of the table "InventoryItem" within a second.')
        if isinstance(error, psycopg.Error):
            return _failed("refused", f"Postgres refuses: {first_line(error)}")
        if await is_read_only(self._settings):
            detail = "Postgres is read-only: a replica, or default_transaction_read_only is on."
            return _failed("read_only", detail)
        return _NO_ANSWER

    async def _migrations(self) -> Found:
        try:
            rows = await fetch(self._engine, "SELECT version_num FROM alembic_version", {})
        except NotMigratedError:
            return self._not_at_head(())
        applied = {row["version_num"] for row in rows}
        # A newer schema has revisions that this release does not know. It runs on it: migrations only expand.
        return OK if applied - self._revisions or max(self._revisions) in applied else self._not_at_head(applied)

    def _not_at_head(self, applied: Collection[str]) -> Found:
        if not applied:
            return _failed("not_migrated", "The tables are not there; run: holdfast migrate")
        at = ", ".join(sorted(applied))
        return _failed("not_migrated", f"The schema is at {at}, not at {max(self._revisions)}; run: holdfast migrate")


class TemporalChecks:
    """Looks at Temporal, the namespace and its search attributes, and whether workers poll the task queue."""

    def __init__(self, client: Client, settings: Settings, task_queue: str) -> None:
        self._client = client
        self._task_queue = task_queue
        self._wanted = SEARCH_ATTRIBUTES | (SKU_ATTRIBUTE if settings.search_by_sku else {})
        self._polls = Freshness()
        self._attributes_until = 0.0

    async def look(self) -> Parts:
        """Look at each part; what follows from a failed one is not known."""
        try:
            found: dict[Part, Found] = {"temporal": OK, "namespace": await self._namespace()}
            if found["namespace"].ok:
                found["workers"] = await self._workers()
                found["search_attributes"] = await self._search_attributes()
        except (RPCError, RuntimeError) as error:  # a lazy connection that cannot be made raises RuntimeError
            if isinstance(error, RPCError) and error.status is RPCStatusCode.UNAUTHENTICATED:
                return {"temporal": _failed("refused", "Temporal refuses the API key or the certificate.")}
            return NO_TEMPORAL
        return found

    async def _namespace(self) -> Found:
        name = self._client.namespace
        try:
            described = await self._client.workflow_service.describe_namespace(
                DescribeNamespaceRequest(namespace=name), timeout=_CALL
            )
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return _failed("namespace_missing", f"Temporal has no namespace {name}.")
            if error.status is RPCStatusCode.PERMISSION_DENIED:  # it may be that only operators may describe it
                return OK
            raise
        state = described.namespace_info.state
        if state != NamespaceState.NAMESPACE_STATE_REGISTERED:
            return _failed("namespace_retired", f"The namespace {name} is {NamespaceState.Name(state)}.")
        return OK

    async def _workers(self) -> Found:
        try:
            poll = await last_poll_of_workers(self._client, self._task_queue, _CALL)
        except RPCError as error:
            if error.status is RPCStatusCode.PERMISSION_DENIED:
                return UNKNOWN
            raise
        if self._polls.is_recent(poll):
            return OK
        return _failed("none_polls", f"No worker polls the task queue {self._task_queue} of {self._client.namespace}.")

    async def _search_attributes(self) -> Found:
        if time.monotonic() < self._attributes_until:
            return OK
        try:
            has = await search_attributes_of(self._client, self._wanted, _CALL)
        except RPCError:  # Temporal's list of workflows is away; holds go on without it
            return UNKNOWN
        if wrong := sorted(refused_attributes(self._wanted, has)):
            problems = ", ".join(f"{name} is a {has[name]}" if name in has else f"{name} is missing" for name in wrong)
            detail = f"{problems} in the namespace {self._client.namespace}: holds cannot be created."
            return _failed("search_attributes_missing", detail)
        self._attributes_until = time.monotonic() + _ATTRIBUTES_SECONDS
        return OK
