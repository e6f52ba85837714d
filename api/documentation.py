"""What the OpenAPI document says beyond the types: examples, and the errors of each kind of route."""

from typing import Any

from api.errors import Problem
from api.schemas import ErrorOut

DESCRIPTION = """
Holdfast holds stock for a checkout until the payment is decided. Every error has the shape
`{error, code?, message, ...}`; docs/errors.md lists them with their cause and whether to ask again.
"""

_BODIES: dict[str, dict[str, Any]] = {
    "hold": {
        "shopId": "demo",
        "items": [{"sku": "TEE", "variantKey": "size:M", "quantity": 2}, {"sku": "MUG", "quantity": 1}],
        "ttlSeconds": 1200,
        "reference": "order-1001",
    },
    "validate": {"shopId": "demo", "items": [{"sku": "TEE", "variantKey": "size:M", "quantity": 2}]},
    "end": {"reason": "changed their mind"},
    "extend": {"ttlSeconds": 600},
    "items": {
        "shopId": "demo",
        "items": [{"sku": "TEE", "variantKey": "size:M", "onHand": 100, "lowStockThreshold": 10}],
    },
}


def examples(name: str) -> dict[str, Any]:
    """Return the part of an operation that shows an example of its body."""
    return {"requestBody": {"content": {"application/json": {"example": _BODIES[name]}}}}


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {
        status: {
            "model": ErrorOut,
            "description": "; ".join(
                f"`{problem.name}`: {problem.value.cause}" for problem in Problem if problem.value.status == status
            ),
        }
        for status in statuses
    }


READ_ERRORS = _errors(400, 401, 422, 429, 503, 504)
WRITE_ERRORS = _errors(400, 401, 403, 413, 422, 429, 503, 504)
CONFLICT = _errors(409)
NOT_FOUND = _errors(404)
