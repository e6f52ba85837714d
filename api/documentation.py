"""What the OpenAPI document says beyond the types: examples, and the errors of each kind of route."""

import json
from typing import Any

from api.answers import ErrorOut
from api.errors import ApiError, Problem

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
    "checkout": {
        "shopId": "demo",
        "items": [
            {
                "sku": "TEE",
                "variantKey": "size:M",
                "quantity": 1,
                "name": "T-shirt",
                "unitAmount": 1999,
                "currency": "eur",
            }
        ],
        "successUrl": "https://shop.example/paid?session={CHECKOUT_SESSION_ID}",
        "cancelUrl": "https://shop.example/cart",
        "reference": "order-1001",
    },
    "payment": {"checkoutSessionId": "cs_test_a1B2"},
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


def errors(*problems: Problem) -> dict[int | str, dict[str, Any]]:
    """Return the part of an operation that lists these errors: by status, each with its cause and an example."""
    return {
        status: _of_status([problem for problem in problems if problem.value.status == status])
        for status in sorted({problem.value.status for problem in problems})
    }


def _of_status(problems: list[Problem]) -> dict[str, Any]:
    return {
        "model": ErrorOut,
        "description": " ".join(f"`{problem.name}`: {problem.value.cause}" for problem in problems),
        "content": {"application/json": {"examples": {p.name: {"value": _example(p)} for p in problems}}},
        "headers": {
            name: {"schema": {"type": "string"}, "required": True}
            for name in ("Retry-After", "WWW-Authenticate")
            if name.lower() in ApiError(problems[0]).response().headers
        },
    }


def _example(problem: Problem) -> Any:  # noqa: ANN401 - JSON
    return json.loads(bytes(ApiError(problem, **_DETAILS.get(problem, {})).response().body))


_SHORT = {"sku": "TEE", "variantKey": "size:M", "requested": 2, "available": 1}
_DETAILS: dict[Problem, dict[str, Any]] = {
    Problem.insufficient_stock: {"items": [_SHORT]},
    Problem.hold_exists: {"holdId": "h_5f2c9a"},
    Problem.hold_not_active: {"holdId": "h_5f2c9a", "status": "expired"},
    Problem.idempotency_conflict: {"holdId": "h_5f2c9a"},
    Problem.count_below_held: {"items": [{"sku": "TEE", "variantKey": "size:M", "onHand": 1, "held": 2}]},
    Problem.invalid_request: {"fields": [{"field": "items[0].quantity", "message": "must be at least 1"}]},
    Problem.payment_already_attached: {"holdId": "h_5f2c9a", "checkoutSessionId": "cs_test_a1B2"},
    Problem.checkout_refused: {"holdId": "h_5f2c9a", "param": "line_items[0][price]"},
    Problem.inventory_timeout: {"holdId": "h_5f2c9a"},
}

_AWAY = (Problem.inventory_busy, Problem.inventory_unavailable, Problem.inventory_timeout)
READ_ERRORS = errors(Problem.unauthorized, Problem.invalid_request, *_AWAY)
WRITE_ERRORS = errors(
    Problem.invalid_json, Problem.unauthorized, Problem.body_too_large, Problem.invalid_request, *_AWAY
)
NOT_FOUND = errors(Problem.hold_not_found)
FORBIDDEN = errors(Problem.forbidden)
