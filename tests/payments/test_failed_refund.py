"""A refund that fails: the money is the shop's again, so a person has to give it back, whenever Stripe says so."""

from tests.paying import Shop
from tests.waiting import until
from workflows.late_payment import REFUND_FAILED, LatePaymentWorkflow
from workflows.payment_messages import CloseCase


async def test_a_refund_that_fails_while_its_case_is_open_is_left_to_a_person(corner: Shop) -> None:
    shop = corner
    made = await shop.checkout()
    await shop.stack.post(made["holdId"], "release")
    await shop.stack.made((shop.item, (await shop.stock())[0]))
    # The case learns how the refund went only after the refund has failed.
    rule = await shop.stripe.control(
        "/faults", on="api", effect="timeout", match="refunds.create", when="after", seconds=60
    )
    await shop.pay(made["checkoutSessionId"], late="complete")
    intent = await shop.intent_of(made["checkoutSessionId"])

    async def refunded() -> bool:
        return bool((await shop.stripe.books(intent))["refunds"])

    await until(refunded, "the money was given back")
    (refund,) = (await shop.stripe.books(intent))["refunds"]
    await shop.stripe.control(f"/refunds/{refund['id']}/settle", ok=False)
    await shop.until_heard("refund.failed", refund["id"])
    await shop.stripe.control(f"/faults/{rule['id']}", "DELETE")

    async def waits_for_person() -> bool:
        return bool(await shop.case_of(intent).query(LatePaymentWorkflow.waits_for_person))

    await until(waits_for_person, "the case waits for a person")
    assert REFUND_FAILED in await shop.case_of(intent).query(LatePaymentWorkflow.state)
    await shop.case_of(intent).signal(LatePaymentWorkflow.close, CloseCase(actor="Ada", note="sent by bank"))
    assert (await shop.case_of(intent).result()).outcome == "closed_by_person"
