"""Address, shipping, tax, promotion codes, invoices, and pages inside a shop's own."""

import re
from typing import Any

import pytest
from stripe import InvalidRequestError

from tests.simulated import Inbox, Simulated
from tests.simulator.shop import line, opened

BACK = "https://shop.example/back?session={CHECKOUT_SESSION_ID}"
FORM = {
    "email": "ann@mail.example",
    "name": "Ann Buyer",
    "line1": "1 Main Street",
    "city": "Bonn",
    "postal_code": "53111",
    "country": "DE",
}


def rates(*amounts: int, currency: str = "eur") -> list[dict[str, Any]]:
    return [
        {"shipping_rate_data": {"display_name": f"Rate {n}", "fixed_amount": {"amount": amount, "currency": currency}}}
        for n, amount in enumerate(amounts)
    ]


def ships(**changes: Any) -> dict[str, Any]:
    return {
        "shipping_address_collection": {"allowed_countries": ["DE", "AT"]},
        "shipping_options": rates(490, 1490),
        "automatic_tax": {"enabled": True},
        "allow_promotion_codes": True,
        "invoice_creation": {"enabled": True},
        **changes,
    }


async def code(sim: Simulated, **coupon: Any) -> str:
    """Make a promotion code."""
    wanted: Any = {"duration": "once", **coupon}
    made = await sim.stripe.v1.coupons.create_async(wanted)
    promotion: Any = {"promotion": {"type": "coupon", "coupon": made.id}}
    return (await sim.stripe.v1.promotion_codes.create_async(promotion)).code


async def test_a_person_enters_address_shipping_and_code_sees_the_total_and_pays(sim: Simulated, box: Inbox) -> None:
    session = await opened(sim, **ships())
    assert (session.amount_subtotal, session.amount_total) == (2500, 2990)
    assert session.automatic_tax.status == "requires_location_inputs"
    express = session.shipping_options[1].shipping_rate
    form = {**FORM, "shipping_rate": str(express), "promotion_code": await code(sim, percent_off=10.0)}
    changed = await sim.browser.post(session.url or "", data={**form, "how": "card"})
    assert "The total has changed" in changed.text
    assert "Pay 44.88 EUR" in changed.text  # (25.00 - 2.50 + 14.90) and a fifth
    assert "Tax" in changed.text
    paid = await sim.browser.post(session.url or "", data={**form, "how": "card"})
    assert paid.status_code == 303
    await box.wait_for("checkout.session.completed")
    got: Any = await sim.stripe.v1.checkout.sessions.retrieve_async(session.id, {"expand": ["payment_intent"]})
    assert (got.amount_total, got.payment_intent.amount_received) == (4488, 4488)
    assert got.collected_information.shipping_details.address.city == "Bonn"
    assert (got.shipping_cost.amount_total, got.total_details.amount_tax) == (1490, 748)
    invoice = await sim.stripe.v1.invoices.retrieve_async(got.invoice)
    assert (invoice.total, invoice.customer_email) == (4488, FORM["email"])
    assert (await sim.stripe.v1.customers.retrieve_async(got.customer)).to_dict()["name"] == FORM["name"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"city": ""}, "Enter your city."),
        ({"country": "US"}, "We do not ship to US."),
        ({"shipping_rate": "shr_other"}, "no shipping rate shr_other"),
        ({"promotion_code": "NONE"}, "The promotion code NONE is not valid."),
    ],
)
async def test_a_form_says_what_is_wrong_with_it(sim: Simulated, changes: dict[str, str], said: str) -> None:
    session = await opened(sim, **ships())
    answer = await sim.browser.post(session.url or "", data={**FORM, "how": "card", **changes})
    assert (answer.status_code, said in answer.text) == (400, True)


@pytest.mark.parametrize(
    ("currency", "amount", "total"), [("jpy", 505, 606), ("kwd", 5130, 6160), ("isk", 10100, 12100)]
)
async def test_tax_is_rounded_to_what_the_currency_has(sim: Simulated, currency: str, amount: int, total: int) -> None:
    lines = [line(amount, currency, quantity=1)]
    session = await opened(
        sim, line_items=lines, automatic_tax={"enabled": True}, phone_number_collection={"enabled": True}
    )
    await sim.control(f"/sessions/{session.id}/enter", phone="+49", email="ann@mail.example")
    assert (await sim.control(f"/sessions/{session.id}/pay"))["amount"] == total


async def test_a_coupon_that_takes_off_everything_leaves_nothing_to_pay(sim: Simulated) -> None:
    coupon = await sim.stripe.v1.coupons.create_async({"amount_off": 9900, "currency": "eur", "duration": "once"})
    session = await opened(sim, discounts=[{"coupon": coupon.id}])
    assert session.amount_total == 0
    assert (await sim.control(f"/sessions/{session.id}/pay"))["payment_status"] == "no_payment_required"


@pytest.mark.parametrize(("redirect", "leads_back"), [("always", True), ("never", False)])
async def test_an_embedded_page_is_a_frame_that_tells_the_shops_page(
    sim: Simulated, redirect: str, leads_back: bool
) -> None:
    back = {"return_url": BACK} if leads_back else {}
    session = await opened(
        sim, ui_mode="embedded_page", success_url=None, cancel_url=None, redirect_on_completion=redirect, **back
    )
    assert (session.url, session.client_secret is not None) == (None, True)
    frame = f"/c/embed/{session.client_secret}"
    page = await sim.browser.get(frame)
    assert "frame-ancestors *" in page.headers["content-security-policy"]
    assert (await sim.browser.post(frame, data={"how": "card"})).headers["location"] == frame
    done = (await sim.browser.get(frame)).text
    assert f'data-complete="{session.id}"' in done
    assert (f'data-address="https://shop.example/back?session={session.id}"' in done) == leads_back
    assert (await sim.browser.get("/c/embed/cs_test_none_secret_1")).status_code == 404


async def test_elements_are_paid_by_calls_from_the_shops_page(sim: Simulated) -> None:
    session = await opened(sim, ui_mode="elements", return_url=BACK, success_url=None, cancel_url=None, **ships())
    frame = f"/c/element/{session.client_secret}"
    assert "Card, declined" in (await sim.browser.get(frame)).text
    address = {"name": "Ann", "address": {name: FORM[name] for name in ("line1", "city", "postal_code", "country")}}
    for call, value in (
        ("address", address),
        ("email", "ann@mail.example"),
        ("code", await code(sim, percent_off=50.0)),
    ):
        answer = (await sim.browser.post(frame, json={"call": call, "value": value})).json()
        assert answer["type"] == "success", answer
    assert answer["session"]["amount_total"] == round((1250 + 490) * 1.2)
    declined = (await sim.browser.post(frame, json={"call": "confirm", "how": "declined"})).json()
    assert declined == {"type": "error", "error": {"message": "Your card was declined."}}
    paid = (await sim.browser.post(frame, json={"call": "confirm", "how": "card"})).json()
    assert paid["address"] == f"https://shop.example/back?session={session.id}"
    for body in (b"{", b'{"call": "confirm", "how": "gold"}'):
        answer = await sim.browser.post(frame, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in (200, 400)
        assert answer.json()["type"] == "error"


async def test_a_page_of_the_shops_own_loads_the_stand_in_for_stripes_script_and_nothing_else(sim: Simulated) -> None:
    session = await opened(sim, ui_mode="embedded_page", success_url=None, cancel_url=None, return_url=BACK)
    page = (await sim.browser.get(f"/shop/embedded/{session.id}")).text
    sources = re.findall(r'src="([^"]*)"', page)
    assert sources == ["/stripe.js", "/shop/shop.js"]
    for source in (*sources, "/c/complete.js", "/c/element.js"):
        script = await sim.browser.get(source)
        assert script.headers["content-type"].startswith("text/javascript")
        assert "http" not in script.text


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"ui_mode": "form"}, "ui_mode"),
        ({"ui_mode": "elements", "return_url": BACK}, "success_url"),
        ({"ui_mode": "embedded_page", "success_url": None, "cancel_url": None}, "return_url"),
        ({"return_url": BACK}, "return_url"),
        ({"shipping_options": rates(1, currency="usd")}, "shipping_options[0]"),
        ({"shipping_options": [{"shipping_rate": "shr_1"}]}, "shipping_options[0][shipping_rate]"),
        ({"shipping_options": rates(*range(6))}, "shipping_options"),
        ({"discounts": [{"coupon": "none"}]}, "discounts[0][coupon]"),
        ({"customer": "cus_none"}, "customer"),
        ({"line_items": [line(5123, "kwd")]}, "line_items"),
    ],
)
async def test_what_a_sale_cannot_have_is_refused_by_name(sim: Simulated, changes: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        await opened(sim, **changes)
    assert refused.value.param == param


async def test_what_the_simulator_lacks_is_said_as_its_own(sim: Simulated) -> None:
    with pytest.raises(InvalidRequestError, match="The simulator does not know the parameter managed_payments"):
        await opened(sim, managed_payments={"enabled": True})
    with pytest.raises(InvalidRequestError, match="The simulator does not know ui_mode=form"):
        await opened(sim, ui_mode="form")
