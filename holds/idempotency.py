"""Identifies a repeated request: the hold's id, and the digest of the request."""

import hashlib
import json
import uuid
from collections.abc import Mapping

from domain.holds import Line


def hold_id_for(shop_id: str, given: str | None, idempotency_key: str | None) -> str:
    """Return the hold's id: the given one, else the one that the key determines within the shop, else a new one."""
    if given is not None:
        return given
    if idempotency_key is not None:
        return "h_" + hashlib.sha256(f"{shop_id}\0{idempotency_key}".encode()).hexdigest()[:32]
    return "h_" + uuid.uuid4().hex


def more_of(
    warn_before_seconds: int | None, metadata: Mapping[str, str], browser_extensions: int
) -> Mapping[str, object] | None:
    """Return what the digest covers besides. None of nothing: a hold of an earlier release has no such digest."""
    given = {
        "warnBeforeSeconds": warn_before_seconds,
        "metadata": metadata,
        "browserExtensions": browser_extensions,
    }
    return {name: value for name, value in given.items() if value} or None


def request_hash(
    route: str,
    shop_id: str,
    lines: tuple[Line, ...],
    ttl_seconds: int | None,
    ref: str | None,
    *,
    more: Mapping[str, object] | None = None,
) -> str:
    """Return the digest that distinguishes a repeat from another request with the same id.

    It covers what is requested, in one order, but not `replace`, which concerns another hold.
    """
    canonical: list[object] = [
        route,
        shop_id,
        [[line.sku, line.variant_key, line.quantity] for line in lines],
        ttl_seconds,
        ref,
    ]
    if more is not None:
        canonical.append(more)
    return hashlib.sha256(json.dumps(canonical, sort_keys=True).encode()).hexdigest()
