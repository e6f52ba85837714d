"""Every error that the simulated API answers with, in Stripe's shape: `{"error": {"type", "message", ...}}`."""

from typing import Any

_SHOWN = 16
"""Keys that are longer than this are named by their first letters."""


class StripeError(Exception):
    """Ends an API call with an error body.

    `executed` is False where no endpoint began: such an answer is not kept under the idempotency key (https://docs.stripe.com/api/idempotent_requests).
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        executed: bool = True,
        more: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.code = code
        self.param = param
        self.executed = executed
        self.more = more or {}

    def body(self, request_id: str) -> dict[str, Any]:
        """Return the JSON body."""
        error: dict[str, Any] = {"message": self.message, "type": self.kind, **self.more}
        if self.code is not None:
            error["code"] = self.code
            error["doc_url"] = f"https://docs.stripe.com/error-codes/{self.code.replace('_', '-')}"
        if self.param is not None:
            error["param"] = self.param
        error["request_log_url"] = f"https://dashboard.stripe.com/test/logs/{request_id}"
        return {"error": dict(sorted(error.items()))}


def invalid(message: str, param: str | None = None, code: str | None = None) -> StripeError:
    """Return the error for a parameter that fails validation."""
    return StripeError(400, message, code=code, param=param, executed=False)


def refused(message: str, code: str | None = None, param: str | None = None) -> StripeError:
    """Return the error for what the state of an object does not allow."""
    return StripeError(400, message, code=code, param=param)


def missing(kind: str, object_id: str, param: str, *, in_url: bool = True) -> StripeError:
    """Return the error for an unknown id: 404 where the URL names it, 400 where a parameter does."""
    return StripeError(404 if in_url else 400, f"No such {kind}: '{object_id}'", code="resource_missing", param=param)


def not_authenticated(key: str) -> StripeError:
    """Return the error for a missing or unknown API key."""
    if not key:
        message = "You did not provide an API key. Provide it as Bearer token or as the user name of HTTP Basic auth."
    else:
        message = f"Invalid API Key provided: {key[:8] if len(key) > _SHOWN else ''}{'*' * 8}"
    return StripeError(401, message, executed=False)


def other_parameters(key: str) -> StripeError:
    """Return the error for an idempotency key that was used with another request."""
    message = (
        "Keys for idempotent requests can only be used with the same parameters they were first used with. "
        f"Try using a key other than '{key}' if you meant to execute a different request."
    )
    return StripeError(400, message, kind="idempotency_error", executed=False)


def key_in_use(key: str) -> StripeError:
    """Return the error for an idempotency key whose first request still runs."""
    message = f"There is currently another in-progress request using this Stripe-Idempotency-Key: {key}"
    return StripeError(409, message, code="idempotency_key_in_use", executed=False)


def broken(status: int) -> StripeError:
    """Return what Stripe answers with this status when it is not the caller's fault, or not his alone."""
    match status:
        case 429:
            return StripeError(429, "Request rate limit exceeded.", code="rate_limit", executed=False)
        case 409:
            return StripeError(409, "Another request holds the lock of this object.", code="lock_timeout")
        case _ if status >= 500:  # noqa: PLR2004 - the class of server errors
            return StripeError(status, "An unknown error occurred.", kind="api_error")
        case _:
            return StripeError(status, "The simulator was asked to refuse this request.")
