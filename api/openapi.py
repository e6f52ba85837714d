"""Examples, and the errors of each kind of route, for the OpenAPI document."""

import json
from typing import Any

from api.access_log import REQUEST_ID
from api.errors import ApiError
from api.problems import Problem
from api.responses import ErrorOut
from inventory.stock_file import COLUMNS, NAME

DESCRIPTION = """
Holdfast holds stock for a checkout until the payment is decided. Every error has the shape
`{error, code?, message, ...}`; docs/errors.md lists them with their cause and whether to repeat the request.
Answers name their request in the header `X-Request-ID`; give it to whoever runs Holdfast.
"""

_TEXT = {"type": "string"}
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
        "extraLines": [{"name": "Gift wrap", "unitAmount": 300, "currency": "eur"}],
        "successUrl": "https://shop.example/paid?session={CHECKOUT_SESSION_ID}",
        "cancelUrl": "https://shop.example/cart",
        "reference": "order-1001",
        "stripe": {
            "shipping_address_collection": {"allowed_countries": ["DE", "AT"]},
            "automatic_tax": {"enabled": True},
        },
    },
    "payment": {"checkoutSessionId": "cs_test_a1B2"},
    "end": {"reason": "changed their mind"},
    "commit": {"reason": "picked", "items": [{"sku": "TEE", "variantKey": "size:M", "quantity": 1}]},
    "extend": {"ttlSeconds": 600},
    "amend": {"items": [{"sku": "TEE", "variantKey": "size:M", "quantity": 3}, {"sku": "MUG", "quantity": 1}]},
    "another_checkout": {
        "items": [
            {
                "sku": "TEE",
                "variantKey": "size:M",
                "quantity": 3,
                "name": "T-shirt",
                "unitAmount": 1999,
                "currency": "eur",
            }
        ],
        "successUrl": "https://shop.example/paid",
        "cancelUrl": "https://shop.example/cart",
    },
    "items": {
        "shopId": "demo",
        "items": [{"sku": "TEE", "variantKey": "size:M", "onHand": 100, "lowStockThreshold": 10}],
    },
    "adjustments": {
        "shopId": "demo",
        "adjustments": [{"sku": "TEE", "variantKey": "size:M", "delta": -2, "reason": "damaged"}],
    },
    "restock": {"items": [{"sku": "TEE", "variantKey": "size:M", "quantity": 1}], "reason": "returned, unworn"},
}


_REQUEST_ID = {
    "parameters": {
        "name": REQUEST_ID,
        "in": "header",
        "required": False,
        "schema": _TEXT,  # without the pattern: another id is replaced, not refused
        "description": "The id by which answer and log name this request: 1 to 128 letters, digits and `._:=/+-`. "
        "Without one, or with any other, the request gets an id.",
    },
    "headers": {"description": "The id of the request.", "required": False, "schema": _TEXT},
}


def describe_request_ids(document: dict[str, Any]) -> dict[str, Any]:
    """Add the request's id to each operation of an OpenAPI document and to its answers. Returns the document."""
    for section, described in _REQUEST_ID.items():
        document["components"][section] = {"RequestId": described}
    for operation in (operation for path in document["paths"].values() for operation in path.values()):
        # Copies: what a route adds to its operation is shared by all documents that are made in this process.
        given, named = ({"$ref": f"#/components/{section}/RequestId"} for section in _REQUEST_ID)
        operation["parameters"] = [*operation.get("parameters", ()), given]
        for response in operation["responses"].values():
            response["headers"] = {**response.get("headers", {}), REQUEST_ID: named}
    return document


def examples(name: str) -> dict[str, Any]:
    """Return the part of an operation that shows an example of its body."""
    return {"requestBody": {"content": {"application/json": {"example": _BODIES[name]}}}}


def signed_by_stripe(example: dict[str, Any]) -> dict[str, Any]:
    """Return the part of an operation whose body Stripe signs; the route reads it itself."""
    signature = {
        "name": "Stripe-Signature",
        "in": "header",
        "required": True,
        "schema": _TEXT,
        "description": "`t=…,v1=…`: HMAC-SHA256 over the raw body, not older than 300 s.",
    }
    content = {"application/json": {"schema": {"type": "object"}, "example": example}}
    return {"parameters": [signature], "requestBody": {"required": True, "content": content}}


def stock_file() -> dict[str, Any]:
    """Return the part of an operation that shows a stock file as its body."""
    lines = (",".join((*COLUMNS, NAME)), "demo,TEE,size:M,tee,100,10,T-shirt", "demo,MUG,,,40,,")
    example = "".join(f"{line}\n" for line in lines)
    return {"requestBody": {"required": True, "content": {"text/csv": {"schema": _TEXT, "example": example}}}}


def stock_report() -> dict[str, Any]:
    """Return the description of an import's answer."""
    was = {"onHand": 90, "productId": "tee", "lowStockThreshold": None}
    then = {"onHand": 100, "productId": "tee", "lowStockThreshold": 10}
    row = {"line": 2, "shopId": "demo", "sku": "TEE", "variantKey": "size:M", "result": "changed"}
    example = json.dumps(row | {"before": was, "after": then, "quantity": 98, "held": 2}) + "\n"
    return {
        "description": "A line of JSON for each row of the file, in its order; a last one with `notes`, if any.",
        "content": {"application/x-ndjson": {"schema": _TEXT, "example": example}},
    }


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


_SHORT = {"sku": "TEE", "variantKey": "size:M", "requested": 2, "available": 1, "reason": "insufficient"}
_DETAILS: dict[Problem, dict[str, Any]] = {
    Problem.insufficient_stock: {"items": [_SHORT]},
    Problem.hold_exists: {"holdId": "h_5f2c9a"},
    Problem.hold_not_active: {"holdId": "h_5f2c9a", "status": "expired"},
    Problem.idempotency_conflict: {"holdId": "h_5f2c9a"},
    Problem.count_below_held: {
        "items": [{"sku": "TEE", "variantKey": "size:M", "onHand": 1, "held": 2, "holds": ["h_5f2c9a"]}]
    },
    Problem.stock_below_zero: {
        "items": [{"sku": "TEE", "variantKey": "size:M", "delta": -5, "quantity": 3, "held": 2, "holds": ["h_5f2c9a"]}]
    },
    Problem.stock_above_limit: {"items": [{"sku": "TEE", "variantKey": "size:M"}]},
    Problem.item_not_found: {"items": [{"sku": "TEA", "variantKey": "size:M"}]},
    Problem.restock_above_committed: {
        "items": [{"sku": "TEE", "variantKey": "size:M", "requested": 2, "committed": 2, "restocked": 1}]
    },
    Problem.invalid_import: {
        "problems": [{"line": 3, "column": "onHand", "message": "must be a whole number, 0 to 1000000000"}]
    },
    Problem.invalid_request: {"fields": [{"field": "items[0].quantity", "message": "must be at least 1"}]},
    Problem.payment_already_attached: {"holdId": "h_5f2c9a", "checkoutSessionId": "cs_test_a1B2"},
    Problem.payment_open: {"holdId": "h_5f2c9a", "paymentIntentId": "pi_3Pq2Rs"},
    Problem.limit_exceeded: {
        "limits": [{"limit": "maxPerBuyer", "most": 2, "has": 1, "requested": 2, "sku": "TEE", "variantKey": "size:M"}]
    },
    Problem.payment_in_progress: {
        "holdId": "h_5f2c9a",
        "status": "active",
        "expiresAt": "2026-12-20T12:24:43.714943Z",
        "checkoutSessionId": "cs_test_a1B2",
    },
    Problem.checkout_refused: {"holdId": "h_5f2c9a", "param": "line_items[0][price]"},
    Problem.inventory_timeout: {"holdId": "h_5f2c9a"},
}

_UNAVAILABLE = (Problem.inventory_busy, Problem.overloaded, Problem.inventory_unavailable, Problem.inventory_timeout)
READ_ERRORS = errors(Problem.unauthorized, Problem.invalid_request, *_UNAVAILABLE)
WRITE_ERRORS = errors(
    Problem.invalid_json, Problem.unauthorized, Problem.body_too_large, Problem.invalid_request, *_UNAVAILABLE
)
NOT_FOUND = errors(Problem.hold_not_found)
FORBIDDEN = errors(Problem.forbidden)
