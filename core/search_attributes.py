"""Reads which search attributes a namespace has."""

from collections.abc import Mapping
from datetime import timedelta

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

_NOT_ALLOWED = (RPCStatusCode.UNIMPLEMENTED, RPCStatusCode.PERMISSION_DENIED)
"""Temporal Cloud's answers to calls that only its own operators may make."""


async def wrong_search_attributes(
    client: Client, wanted: Mapping[str, str], within: timedelta
) -> Mapping[str, str | None]:
    """Return which of the wanted attributes, types by name, are missing (None) or of another type (its name).

    Where the namespace's attributes may not be listed, a query tells, which knows names only. Raises RPCError.
    """
    try:
        listed = await client.operator_service.list_search_attributes(
            ListSearchAttributesRequest(namespace=client.namespace), timeout=within
        )
    except RPCError as error:
        if error.status not in _NOT_ALLOWED:
            raise
        return await _missing_by_query(client, wanted, within)
    found = {name: _type_name(IndexedValueType.Name(kind)) for name, kind in listed.custom_attributes.items()}
    return {name: found.get(name) for name, kind in wanted.items() if found.get(name) != kind}


async def _missing_by_query(client: Client, wanted: Mapping[str, str], within: timedelta) -> dict[str, None]:
    conditions = {
        name: f"{name} = {'2026-01-01T00:00:00Z' if kind == 'Datetime' else 'x'!r}" for name, kind in wanted.items()
    }
    if await _is_known(client, " AND ".join(conditions.values()), within):
        return {}
    return {name: None for name, condition in conditions.items() if not await _is_known(client, condition, within)}


async def _is_known(client: Client, query: str, within: timedelta) -> bool:
    try:
        await client.count_workflows(query, rpc_timeout=within)
    except RPCError as error:
        if error.status is not RPCStatusCode.INVALID_ARGUMENT:
            raise
        return False
    return True


def _type_name(kind: str) -> str:
    return kind.removeprefix("INDEXED_VALUE_TYPE_").title().replace("_", "")
