"""The parameters of a Checkout Session: each of Stripe's is passed on, set by Holdfast, or refused with a reason."""

import re

import pytest
from stripe import RequestOptions
from stripe.params.checkout import _session_create_params as params

from api.checkout_requests import CheckoutIn
from api.errors import ApiError
from api.orders import order_of
from payments.redaction import redacted
from payments.session_options import LINE, PAYMENT_INTENT, PRICE, PRODUCT, SESSION, Parameters
from payments.session_params import session_params
from tests.documents import ROOT

ITEM: dict[str, object] = {"sku": "TEE", "quantity": 1, "name": "T-shirt", "unitAmount": 1999, "currency": "eur"}
BODY: dict[str, object] = {"shopId": "demo", "items": [ITEM], "successUrl": "https://shop.example/paid"}


@pytest.mark.parametrize(
    ("ours", "stripes"),
    [
        (SESSION, params.SessionCreateParams),
        (PAYMENT_INTENT, params.SessionCreateParamsPaymentIntentData),
        (LINE, params.SessionCreateParamsLineItem),
        (PRICE, params.SessionCreateParamsLineItemPriceData),
        (PRODUCT, params.SessionCreateParamsLineItemPriceDataProductData),
    ],
)
def test_every_parameter_that_the_library_knows_is_decided_on_once(ours: Parameters, stripes: type) -> None:
    decided = [*ours.passed, *ours.own, *ours.refused]
    assert len(decided) == len(set(decided))
    assert set(decided) == set(stripes.__annotations__) - set(RequestOptions.__annotations__)


def test_the_page_about_checkouts_lists_what_is_passed_on() -> None:
    rows = {
        row.split("|")[1].strip(): row for row in (ROOT / "docs/checkout.md").read_text().splitlines() if "|" in row
    }
    listed = {name: set(re.findall(r"`(\w+)`", row.split("|")[2])) for name, row in rows.items()}
    assert listed["passed on"] == SESSION.passed
    assert listed["of `payment_intent_data`"] == PAYMENT_INTENT.passed


def refusal(**changes: object) -> tuple[str, str]:
    """Return the field for which the request is refused, and what is said."""
    with pytest.raises(ApiError) as refused:
        order_of(CheckoutIn.model_validate({**BODY, **changes}), "demo", "h-1", None)
    (problem,) = refused.value.details["fields"]
    return problem["field"], problem["message"]


def line(**changes: object) -> dict[str, object]:
    return {**ITEM, **changes}


def nested(levels: int) -> object:
    value: object = "x"
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("changes", "field", "said"),
    [
        ({"stripe": {"mode": "subscription"}}, "stripe.mode", "always payment"),
        ({"stripe": {"expires_at": 1}}, "stripe.expires_at", "ttlSeconds"),
        ({"stripe": {"optional_items": []}}, "stripe.optional_items", "no stock is held"),
        ({"stripe": {"line_items": [{"adjustable_quantity": {}}]}}, "stripe.line_items", "`items`"),
        ({"stripe": {"metadata": {}}}, "stripe.metadata", "`metadata`"),
        ({"stripe": {"colour": "red"}}, "stripe.colour", "not a parameter"),
        (
            {"stripe": {"payment_intent_data": {"transfer_data": {}}}},
            "stripe.payment_intent_data.transfer_data",
            "moves",
        ),
        ({"stripe": {"payment_intent_data": "x"}}, "stripe.payment_intent_data", "an object"),
        ({"stripe": {"ui_mode": "embedded"}}, "stripe.ui_mode", "embedded_page"),
        ({"stripe": {"ui_mode": "elements"}}, "successUrl", "return_url"),
        ({"stripe": {"return_url": "https://shop.example"}}, "stripe.return_url", "successUrl"),
        ({"successUrl": None}, "successUrl", "is missing"),
        ({"stripe": {"custom_text": nested(9)}}, "stripe.custom_text.a.a.a.a.a.a.a", "8 levels"),
        ({"stripe": {"custom_fields": ["x"] * 1000}}, "stripe", "at most 1000 values"),
        ({"stripe": {"custom_text": {"a]&mode": "x"}}}, "stripe.custom_text", "without '['"),
        ({"stripe": {"customer_email": "\ud800"}}, "stripe.customer_email", "control characters"),
        ({"stripe": {"customer_email": None}}, "stripe.customer_email", "leave it out"),
        ({"stripe": {"customer_email": "x" * 5001}}, "stripe.customer_email", "5000"),
        ({"stripe": {"discounts": [{"coupon": float("nan")}]}}, "stripe.discounts[0].coupon", "finite"),
        (
            {"stripe": {"invoice_creation": {"invoice_data": {"metadata": {"shop_id": "another"}}}}},
            "stripe.invoice_creation.invoice_data.metadata",
            "to Holdfast",
        ),
        ({"items": [line(productData={"name": "x"})]}, "items[0].productData.name", "`name`"),
        (
            {"extraLines": [{"name": "Gift wrap", "unitAmount": 300, "currency": "usd"}]},
            "extraLines[0].currency",
            "must be eur",
        ),
        ({"stripe": {"currency": "usd"}}, "stripe.currency", "must be eur, as items[0].currency"),
        (
            {
                "stripe": {
                    "shipping_options": [{"shipping_rate_data": {"fixed_amount": {"amount": 5, "currency": "usd"}}}]
                }
            },
            "stripe.shipping_options[0].shipping_rate_data.fixed_amount.currency",
            "must be eur",
        ),
        ({"items": [line(currency="kwd", unitAmount=5124)]}, "items[0].unitAmount", "must end in 0"),
        ({"items": [line(currency="isk", unitAmount=150)]}, "items[0].unitAmount", "must end in 00"),
        ({"items": [line(currency="UGX", unitAmount=150)]}, "items[0].unitAmount", "must end in 00"),
    ],
)
def test_what_would_break_the_hold_is_refused_by_name_with_the_reason(
    changes: dict[str, object], field: str, said: str
) -> None:
    assert refusal(**changes)[0] == field
    assert said in refusal(**changes)[1]


def test_holdfasts_own_parameters_win_over_those_passed_on() -> None:
    options = {"mode": "payment", "payment_intent_data": {"receipt_email": "ann@example.com"}, "submit_type": "book"}
    body = {**BODY, "stripe": options, "captureMethod": "manual"}
    built = session_params(order_of(CheckoutIn.model_validate(body), "demo", "h-1", None))
    assert (built["mode"], built["submit_type"]) == ("payment", "book")
    assert built["payment_intent_data"] == {
        "receipt_email": "ann@example.com",
        "capture_method": "manual",
        "metadata": built["metadata"],
    }


def test_what_stripe_says_is_repeated_without_the_values() -> None:
    given = {
        "customer_email": "ann@",
        "customer": "cus_1",
        "payment_intent_data": {"shipping": {"name": "Ann", "address": {"city": "Bonn"}}},
    }
    assert redacted("Invalid email: ANN@", given) == "Invalid email: […]"
    assert redacted("Invalid email: annaschmidt", {"customer_email": "annaschmidt"}) == "Invalid email: […]"
    assert redacted("No such customer: cus_1", given) == "No such customer: cus_1"
    assert redacted("Ann does not live in Bonn", given) == "[…] does not live in […]"
