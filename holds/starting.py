"""How a hold's run is started, also anew after it was lost. Not deterministic code: no workflow imports this."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypedDict

from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)

from workflows import ui_text as legible
from workflows.messages import HOLD_EXPIRES_AT, HOLD_REFERENCE, HOLD_STATUS, SHOP_ID, HoldInput, Line, hold_workflow_id

_SEARCH_ATTRIBUTE_BYTES = 2048
"""What Temporal takes as the value of one, as JSON."""


class _RowLine(Protocol):
    @property
    def sku(self) -> str: ...
    @property
    def variant_key(self) -> str: ...
    @property
    def quantity(self) -> int: ...


class HoldRow(Protocol):
    """What a run needs of the row of a hold that it goes on with; `inventory.holds.Hold` is one."""

    @property
    def shop_id(self) -> str: ...  # noqa: D102 - the names are the row's
    @property
    def hold_id(self) -> str: ...  # noqa: D102
    @property
    def lines(self) -> Sequence[_RowLine]: ...  # noqa: D102
    @property
    def created_at(self) -> datetime: ...  # noqa: D102
    @property
    def expires_at(self) -> datetime: ...  # noqa: D102
    @property
    def request_hash(self) -> str | None: ...  # noqa: D102
    @property
    def reference(self) -> str | None: ...  # noqa: D102


class StartOptions(TypedDict):
    """How a hold's run is started: joined where one is open, new where the last has closed."""

    id: str
    id_conflict_policy: WorkflowIDConflictPolicy
    id_reuse_policy: WorkflowIDReusePolicy
    search_attributes: TypedSearchAttributes
    static_summary: str
    static_details: str


def resumed(
    hold: HoldRow,
    *,
    max_ttl_seconds: int,
    request_timeout_ms: int,
    close_grace_seconds: int,
    orphaned: bool = False,
) -> HoldInput:
    """Return the input of a new run for a hold whose run was lost; the run adopts the row (decision 0004)."""
    return HoldInput(
        shop_id=hold.shop_id,
        hold_id=hold.hold_id,
        lines=[Line(line.sku, line.variant_key, line.quantity) for line in hold.lines],
        ttl_seconds=int((hold.expires_at - hold.created_at).total_seconds()),
        max_ttl_seconds=max_ttl_seconds,
        request_timeout_ms=request_timeout_ms,
        request_hash=hold.request_hash,
        reference=hold.reference,
        expires_at=hold.expires_at,
        close_grace_seconds=close_grace_seconds,
        orphaned=orphaned,
    )


def start_options(hold: HoldInput) -> StartOptions:
    """Return the options with which every start of a hold's run is made, whoever makes it."""
    expires_at = hold.expires_at or datetime.now(UTC) + timedelta(seconds=hold.ttl_seconds)
    attributes: list[SearchAttributePair[Any]] = [
        SearchAttributePair(SHOP_ID, hold.shop_id),
        SearchAttributePair(HOLD_STATUS, "active"),
        SearchAttributePair(HOLD_EXPIRES_AT, expires_at),
    ]
    if hold.reference is not None:
        attributes.append(SearchAttributePair(HOLD_REFERENCE, _searchable(hold.reference)))
    return StartOptions(
        id=hold_workflow_id(hold.shop_id, hold.hold_id),
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        search_attributes=TypedSearchAttributes(attributes),
        static_summary=legible.summary(hold),
        static_details=legible.details(hold),
    )


def _searchable(reference: str) -> str:
    """Return the reference, or of one that is too long for a search attribute the beginning."""
    while len(json.dumps(reference)) > _SEARCH_ATTRIBUTE_BYTES:
        reference = reference[:-10]
    return reference
