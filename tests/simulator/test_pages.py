import re

import pytest

from tests.simulated import Inbox, Simulated
from tests.simulator.shop import CANCEL, line, opened, paid


async def press(sim: Simulated, url: str, **form: str) -> str:
    """Send a form, and return where the browser goes."""
    answer = await sim.browser.post(url, data=form)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


async def test_a_person_pays_by_card(sim: Simulated, box: Inbox) -> None:
    session = await opened(sim)
    assert session.url is not None
    page = await sim.browser.get(session.url)
    assert "Pay 25.00 EUR" in page.text
    assert CANCEL in page.text
    assert await press(sim, session.url, how="card") == f"https://shop.example/thanks?session={session.id}"
    await box.wait_for("checkout.session.completed")
    assert "You have paid already" in (await sim.browser.get(session.url)).text


async def test_a_person_is_declined_and_pays_with_another_card(sim: Simulated) -> None:
    session = await opened(sim)
    assert session.url is not None
    assert await press(sim, session.url, how="declined") == session.url
    assert '<p role="alert">Your card was declined.</p>' in (await sim.browser.get(session.url)).text
    assert await press(sim, session.url, how="insufficient_funds") == session.url
    assert (await press(sim, session.url, how="card")).startswith("https://shop.example/thanks")


@pytest.mark.parametrize("ok", ["true", "false"])
async def test_a_person_goes_through_3d_secure(sim: Simulated, ok: str) -> None:
    session = await opened(sim)
    assert session.url is not None
    bank = await press(sim, session.url, how="3ds")
    assert "Your bank asks" in (await sim.browser.get(bank)).text
    goes_to = await press(sim, bank, ok=ok)
    assert goes_to.startswith("https://shop.example/thanks" if ok == "true" else session.url)
    assert "does not wait" in (await sim.browser.get(bank)).text
    if ok == "false":
        assert 'role="alert"' in (await sim.browser.get(session.url)).text


@pytest.mark.parametrize(("currency", "how"), [("eur", "debit"), ("jpy", "voucher")])
async def test_a_person_pays_by_debit_and_the_bank_decides_later(
    sim: Simulated, box: Inbox, currency: str, how: str
) -> None:
    session = await opened(sim, line_items=[line(currency=currency)])
    assert session.url is not None
    assert (await press(sim, session.url, how=how)).startswith("https://shop.example/thanks")
    overview = (await sim.browser.get("/")).text
    (settle,) = re.findall(r'action="(/payments/[^"]+/settle)"', overview)
    assert await press(sim, settle, ok="true") == "/"
    await box.wait_for("checkout.session.async_payment_succeeded")
    assert "/settle" not in (await sim.browser.get("/")).text


async def test_a_payment_intents_3d_secure_returns_to_the_shop(sim: Simulated) -> None:
    wanted = {"amount": 1000, "currency": "eur", "confirm": True, "payment_method": "pm_card_authenticationRequired"}
    for return_url in ("https://shop.example/back", None):
        body = wanted if return_url is None else {**wanted, "return_url": return_url}
        intent = await sim.stripe.v1.payment_intents.create_async(body)  # type: ignore[arg-type]
        answer = await sim.browser.post(f"/authenticate/{intent.id}", data={"ok": "true"})
        assert (answer.status_code, answer.headers.get("location")) == (
            (303, return_url) if return_url else (200, None)
        )


async def test_nobody_pays_at_an_expired_session(sim: Simulated) -> None:
    session = await opened(sim)
    assert session.url is not None
    await sim.stripe.v1.checkout.sessions.expire_async(session.id)
    page = (await sim.browser.get(session.url)).text
    assert "This checkout has expired" in page
    assert "<form" not in page
    assert await press(sim, session.url, how="card") == session.url
    assert await sim.control("/payments", "GET") == []


async def test_what_a_shop_sends_is_escaped_and_nothing_is_loaded_from_elsewhere(sim: Simulated) -> None:
    evil = "<script>alert(1)</script>\"'"
    cancel = 'https://shop.example/"><script>alert(2)</script>'
    session = await opened(sim, line_items=[line(name=evil)], cancel_url=cancel)
    assert session.url is not None
    page = await sim.browser.get(session.url)
    assert "<script" not in page.text
    assert "&lt;script&gt;" in page.text
    assert re.findall(r'(?:src|href)="(?!https://shop\.example/|/")[^"]*"', page.text) == []
    assert "default-src 'none'" in page.headers["content-security-policy"]


async def test_the_page_says_what_is_wrong(sim: Simulated) -> None:
    assert (await sim.browser.get("/c/pay/cs_none")).status_code == 404
    session = await opened(sim)
    for form in ({}, {"how": "gold"}, {"how": "voucher"}):
        assert (await sim.browser.post(session.url or "", data=form)).status_code == 400
    assert (await sim.browser.post("/authenticate/pi_none", data={"ok": "true"})).status_code == 404


async def test_the_overview_shows_sessions_and_payments(sim: Simulated) -> None:
    assert "None yet." in (await sim.browser.get("/")).text
    session = await opened(sim)
    intent = await paid(sim, await opened(sim))
    page = (await sim.browser.get("/")).text
    assert session.id in page
    assert intent in page


@pytest.mark.parametrize(
    ("how", "said"),
    [("card", "Your payment of 25.00 EUR has arrived."), ("debit", "was taken on; the money comes later.")],
)
async def test_a_shopper_who_paid_comes_back_to_a_page_that_says_so(sim: Simulated, how: str, said: str) -> None:
    session = await opened(sim, success_url=f"{sim.url}/shop/thanks/{{CHECKOUT_SESSION_ID}}")
    thanks = await press(sim, session.url or "", how=how)
    page = (await sim.browser.get(thanks)).text
    assert said in page
    for given in (session.id, "inventory_reservation_id", "hold-1"):
        assert given in page


async def test_the_page_of_thanks_thanks_nobody_who_has_not_paid(sim: Simulated) -> None:
    evil = "<script>alert(1)</script>"
    session = await opened(sim, metadata={"note": evil})
    page = (await sim.browser.get(f"/shop/thanks/{session.id}")).text
    assert "Nothing was charged." in page
    assert evil not in page
    assert (await sim.browser.get("/shop/thanks/cs_none")).status_code == 404


async def test_a_shopper_who_goes_back_is_told_that_nothing_was_charged(sim: Simulated) -> None:
    session = await opened(sim, cancel_url=f"{sim.url}/shop/basket")
    assert f'href="{sim.url}/shop/basket"' in (await sim.browser.get(session.url or "")).text
    assert "nothing was charged" in (await sim.browser.get("/shop/basket")).text
