"""The options of every start of a HoldWorkflow."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict

from temporalio.common import (
    Priority,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)

from core.request_context import current_request
from workflows import ui_text
from workflows.messages import HOLD_EXPIRES_AT, HOLD_REFERENCE, HOLD_STATUS, SHOP_ID, SKU, HoldInput, hold_workflow_id
from workflows.priorities import of_shop
from workflows.search_attributes import searchable, searchable_skus


class StartOptions(TypedDict):
    """An open run is joined; after a closed run a new one is started."""

    id: str
    id_conflict_policy: WorkflowIDConflictPolicy
    id_reuse_policy: WorkflowIDReusePolicy
    search_attributes: TypedSearchAttributes
    static_summary: str
    static_details: str
    priority: Priority
    memo: Mapping[str, str] | None


def request_memo() -> Mapping[str, str] | None:
    """Return the memo that names the request which starts a workflow, None where it is not a request that does.

    Of at most 128 printable characters (`core.request_context`). No workflow reads it: it is for people who come from
    a log line, or look for one.
    """
    request = current_request.get()
    return None if request is None else {"requestId": request.request_id}


def start_options(hold: HoldInput) -> StartOptions:
    """Return the options with which a hold's workflow is started."""
    expires_at = hold.expires_at or datetime.now(UTC) + timedelta(seconds=hold.ttl_seconds)
    attributes: list[SearchAttributePair[Any]] = [
        SearchAttributePair(SHOP_ID, hold.shop_id),
        SearchAttributePair(HOLD_STATUS, "active"),
        SearchAttributePair(HOLD_EXPIRES_AT, expires_at),
    ]
    if hold.reference is not None:
        attributes.append(SearchAttributePair(HOLD_REFERENCE, searchable(hold.reference)))
    if hold.search_by_sku:
        attributes.append(SearchAttributePair(SKU, searchable_skus(hold.lines)))
    return StartOptions(
        id=hold_workflow_id(hold.shop_id, hold.hold_id),
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        search_attributes=TypedSearchAttributes(attributes),
        static_summary=ui_text.summary(hold),
        static_details=ui_text.details(hold),
        priority=of_shop(hold.shop_id),
        memo=request_memo(),
    )
