"""Reads which search attributes a namespace has."""

from collections.abc import Mapping
from datetime import timedelta

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from core.temporal import NOT_ALLOWED

_TAKEN_BY = {
    "Keyword": frozenset({"Keyword", "Text"}),
    "Datetime": frozenset({"Datetime", "Keyword", "Text"}),
    "KeywordList": frozenset({"KeywordList"}),
}
"""By the type of a value, the types of attributes with which Temporal takes it; by another it refuses the workflow."""


def refused_attributes(wanted: Mapping[str, str], found: Mapping[str, str]) -> set[str]:
    """Return the names of the wanted attributes without which Temporal refuses a hold: missing, or not of a fit type.

    One of another type that takes the values fails no hold: it is only found differently by lists.
    """
    return {name for name, kind in wanted.items() if found.get(name) not in _TAKEN_BY[kind]}


async def search_attributes_of(client: Client, wanted: Mapping[str, str], within: timedelta) -> Mapping[str, str]:
    """Return the search attributes of the client's namespace, types by name.

    Where they may not be listed, queries tell which of the wanted ones are there; their type is taken to be right.
    Raises RPCError.
    """
    try:
        listed = await client.operator_service.list_search_attributes(
            ListSearchAttributesRequest(namespace=client.namespace), timeout=within
        )
    except RPCError as error:
        if error.status not in NOT_ALLOWED:
            raise
        return await _found_by_query(client, wanted, within)
    return {name: _type_name(IndexedValueType.Name(kind)) for name, kind in listed.custom_attributes.items()}


async def _found_by_query(client: Client, wanted: Mapping[str, str], within: timedelta) -> Mapping[str, str]:
    conditions = {
        name: f"{name} = {'2026-01-01T00:00:00Z' if kind == 'Datetime' else 'x'!r}" for name, kind in wanted.items()
    }
    if await _is_known(client, " AND ".join(conditions.values()), within):
        return wanted
    return {name: kind for name, kind in wanted.items() if await _is_known(client, conditions[name], within)}


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
