"""The errors of this package."""


class PaymentsError(Exception):
    """Base class of all errors that this package raises."""


class StripeUnavailableError(PaymentsError):
    """Stripe gave no final answer. The request may have been executed: repeat it with the same idempotency key."""


class StripeRefusedError(PaymentsError):
    """Stripe refused the request and will refuse it again."""

    def __init__(
        self, message: str, *, code: str | None, param: str | None, callers_fault: bool, replayed: bool = False
    ) -> None:
        super().__init__(message)
        self.code = code
        """Stripe's error code, or IDEMPOTENCY_ERROR."""
        self.param = param
        """Stripe's name of the parameter at fault."""
        self.callers_fault = callers_fault
        """True: the request is wrong. False: the account or the API key is."""
        self.replayed = replayed
        """Whether Stripe repeated the answer that it stored under this idempotency key at an earlier attempt."""


IDEMPOTENCY_ERROR = "idempotency_error"
"""The code of a StripeRefusedError whose idempotency key was used before with other parameters."""


class InvalidSignatureError(PaymentsError):
    """No configured secret signed this webhook body within the tolerance.

    `by_another_secret`: it has a signature of now, as Stripe makes it; otherwise it need not be from Stripe.
    """

    def __init__(self, message: str, *, by_another_secret: bool = False) -> None:
        super().__init__(message)
        self.by_another_secret = by_another_secret


class InvalidEventError(PaymentsError):
    """The webhook body is signed but is not an event."""


class UnknownFeeError(PaymentsError):
    """The shop's application fee is a percentage, and this line has only the id of its price."""

    def __init__(self, place: int) -> None:
        super().__init__(f"the fee cannot be computed: line {place} has no amount")
        self.place = place
