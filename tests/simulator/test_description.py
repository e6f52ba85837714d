"""That the simulator says nothing about Stripe that Stripe's own description does not say."""

import pytest
import stripe

from dev.simulator import checkout, intent_calls
from dev.simulator.config import API_VERSION
from dev.simulator.operations import OPERATIONS, Operation
from payments.session_options import LINE, PAYMENT_INTENT, PRICE, PRODUCT, SESSION, Parameters
from tests.simulator.description import Description


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_every_operation_is_one_of_stripes(description: Description, operation: Operation) -> None:
    assert description.operation(operation.method, operation.path)["responses"]["200"]


def test_parameters_that_are_taken_without_effect_are_stripes(description: Description) -> None:
    sessions = description.parameters("POST", "/v1/checkout/sessions")["properties"]
    assert checkout.IGNORED | set(checkout.ECHOED) <= set(sessions)
    intents = description.parameters("POST", "/v1/payment_intents")["properties"]
    assert set(intents) >= intent_calls.IGNORED


@pytest.mark.parametrize(
    ("path", "ours", "of_earlier_versions"),
    [
        ((), SESSION, {"payment_method_types"}),  # sent as `allowed_payment_method_types` (decision 0050)
        (("payment_intent_data",), PAYMENT_INTENT, set()),
        (("line_items",), LINE, {"dynamic_tax_rates"}),
        (("line_items", "price_data"), PRICE, set()),
        (("line_items", "price_data", "product_data"), PRODUCT, set()),
    ],
    ids=lambda value: ".".join(value) if isinstance(value, tuple) else "",
)
def test_each_parameter_of_a_session_that_stripe_describes_is_decided_on(
    description: Description, path: tuple[str, ...], ours: Parameters, of_earlier_versions: set[str]
) -> None:
    described = description.parameters("POST", "/v1/checkout/sessions")
    for name in path:
        described = described["properties"][name]
        described = described.get("items", described)
    decided = {*ours.passed, *ours.own, *ours.refused}
    assert set(described["properties"]) - decided == of_earlier_versions


def test_events_have_the_version_of_the_library_in_use() -> None:
    assert stripe.api_version == API_VERSION


def test_the_witness_sees_what_is_missing_wrong_or_invented(description: Description) -> None:
    body = {"object": "event", "livemode": "no", "colour": "red"}
    problems = " ".join(description.problems_of_answer("GET", "/v1/events/{id}", 200, body))
    assert '"created" is a required property' in problems
    assert '"no" is not of type "boolean"' in problems
    assert "'colour' was unexpected" in problems
    wrong = description.problems_of_request("POST", "/v1/refunds", "amount=much&reason=none&colour=red")
    assert len(wrong) == 3
