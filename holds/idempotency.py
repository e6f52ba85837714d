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


def optional_parts(
    browser_extensions: int,
    buyer: str | None,
    warn_before_seconds: int | None,
    metadata: Mapping[str, str] | None = None,
) -> dict[str, object]:
    """Return what a request's digest covers of fields that came later: nothing of those left out, as before them."""
    given = {
        "browserExtensions": browser_extensions,
        "buyer": buyer,
        "warnBeforeSeconds": warn_before_seconds,
        "metadata": metadata,
    }
    return {name: value for name, value in given.items() if value}


def amendment_id(idempotency_key: str | None) -> str:
    """Return the id under which a change of a hold is made once: the caller's key determines it."""
    return f"once:{uuid.uuid4().hex}" if idempotency_key is None else f"key:{idempotency_key}"


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
    if more:
        canonical.append(more)
    return hashlib.sha256(json.dumps(canonical, sort_keys=True).encode()).hexdigest()
