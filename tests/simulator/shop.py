"""What a shop asks of Stripe, in the fewest words."""

from typing import Any

from stripe.checkout import Session

from tests.simulated import Simulated

SUCCESS = "https://shop.example/thanks?session={CHECKOUT_SESSION_ID}"
CANCEL = "https://shop.example/cart"


def line(amount: int = 1250, currency: str = "eur", quantity: int = 2, name: str = "Tee") -> dict[str, Any]:
    """Return a line item with its price in it."""
    price = {"currency": currency, "unit_amount": amount, "product_data": {"name": name}}
    return {"quantity": quantity, "price_data": price}


def checkout(**changes: Any) -> Any:
    """Return the parameters of a session of two shirts for 25.00 EUR."""
    return {
        "mode": "payment",
        "success_url": SUCCESS,
        "cancel_url": CANCEL,
        "line_items": [line()],
        "metadata": {"inventory_reservation_id": "hold-1", "shop_id": "shop-1"},
        "payment_intent_data": {"metadata": {"inventory_reservation_id": "hold-1", "shop_id": "shop-1"}},
        **changes,
    }


async def opened(sim: Simulated, **changes: Any) -> Session:
    """Open a session; None leaves a parameter out."""
    params: Any = {name: value for name, value in checkout(**changes).items() if value is not None}
    return await sim.stripe.v1.checkout.sessions.create_async(params)


async def paid(sim: Simulated, session: Session, how: str = "card", **more: Any) -> str:
    """Let the shopper pay, and return the id of the PaymentIntent."""
    summary = await sim.control(f"/sessions/{session.id}/pay", how=how, **more)
    return str(summary["payment"]["payment_intent"])
