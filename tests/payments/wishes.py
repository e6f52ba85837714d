"""What shoppers want: each wish is a little story, told to one visit."""

import asyncio

from tests.payments.cart_wishes import CART_WISHES
from tests.payments.shoppers import Visit, Wish

_CARD = {"paymentMethodTypes": ["card"]}
_MANUAL = {"captureMethod": "manual"}
_DEBITS = ("eur", "usd")
_VOUCHERS = ("mxn", "brl", "jpy")


async def pays(v: Visit) -> None:
    await v.pause()
    await v.pay()


async def gets_it_free(v: Visit) -> None:
    await v.pay()


async def pays_after_declines(v: Visit) -> None:
    for _ in range(v.dice.randint(1, 3)):
        await v.pay(v.dice.choice(("declined", "insufficient_funds")))
        await v.pause()
    await v.pay()


async def is_declined_and_leaves(v: Visit) -> None:
    await v.pay("declined")


async def pays_while_somebody_sends_unreadable_signals(v: Visit) -> None:
    await asyncio.gather(v.get_unreadable_signals(), v.pay())


async def walks_away_while_somebody_sends_unreadable_signals(v: Visit) -> None:
    await v.get_unreadable_signals()


async def authenticates(v: Visit) -> None:
    if await v.pay("3ds"):
        await v.pause()
        await v.authenticate(ok=v.dice.random() < 0.7)


async def leaves_while_authenticating(v: Visit) -> None:
    await v.pay("3ds")


async def walks_away(_: Visit) -> None:
    return


async def gives_back(v: Visit) -> None:
    await v.pause()
    await v.end("release")


async def pays_and_gives_back_at_once(v: Visit) -> None:
    await asyncio.gather(v.pay(), v.end("release"))


async def pays_at_the_deadline(v: Visit) -> None:
    await v.until_the_deadline()
    await v.pay()


async def pays_too_late(v: Visit) -> None:
    """What was in flight lands on a page that has been closed, when another may have bought the last one."""
    await v.until_ended()
    await v.another_takes_the_rest()
    await v.pay(late=v.dice.choice(("complete", "expired")))


async def gives_back_and_pays_too_late(v: Visit) -> None:
    await v.end("release")
    await v.until_ended()
    await v.another_takes_the_rest()
    await v.pause(4)
    await v.pay(late=v.dice.choice(("complete", "expired")))


async def pays_another_way_too_late(v: Visit) -> None:
    await v.until_ended()
    await v.pay_intent(await v.own_intent())


async def pays_on_two_pages(v: Visit) -> None:
    second = await v.own_page()
    await asyncio.gather(*v.dice.sample([v.pay(), v.pay(page=second)], 2))


async def pays_the_page_and_another_way(v: Visit) -> None:
    intent = await v.own_intent()
    await v.pay()
    await v.pause(3)
    await v.pay_intent(intent)


async def pays_by_debit(v: Visit) -> None:
    if await v.pay("debit"):
        await v.pause(15)
        await v.settle(ok=v.dice.random() < 0.6)


async def pays_by_debit_after_its_grace(v: Visit) -> None:
    if await v.pay("debit"):
        await v.until_ended()
        await v.settle(ok=True)


async def pays_by_debit_and_gives_back(v: Visit) -> None:
    if await v.pay("debit"):
        await v.end("release", patience=1)
        await v.pause(8)
        await v.settle(ok=v.dice.random() < 0.5)


async def pays_by_voucher(v: Visit) -> None:
    if await v.pay("voucher"):
        await v.pause(15)
        await v.settle(ok=v.dice.random() < 0.6)


async def forgets_the_voucher(v: Visit) -> None:
    await v.pay("voucher")


async def is_captured(v: Visit) -> None:
    await v.pay()


async def is_authorised_and_gives_back(v: Visit) -> None:
    await asyncio.gather(v.pay(), v.end("release"))


async def is_authorised_too_late(v: Visit) -> None:
    await v.until_ended()
    await v.pay(late="complete")


async def is_authorised_twice(v: Visit) -> None:
    intent = await v.own_intent()
    await asyncio.gather(v.pay(), v.pay_intent(intent))


async def is_sold_by_the_shop(v: Visit) -> None:
    await v.end("commit")


async def is_sold_by_the_shop_and_pays(v: Visit) -> None:
    await asyncio.gather(*v.dice.sample([v.pay(), v.end("commit")], 2))


async def comes_to_the_success_page_without_paying(v: Visit) -> None:
    await v.come_to_the_success_page()


async def pays_and_comes_to_the_success_page(v: Visit) -> None:
    await asyncio.gather(v.pay(), v.come_to_the_success_page())
    await v.come_to_the_success_page()


async def pays_at_a_provider(v: Visit) -> None:
    if await v.pay("redirect"):
        await v.pause()
        await v.authenticate(ok=v.dice.random() < 0.7)


async def pays_by_bank_transfer(v: Visit) -> None:
    if await v.pay("transfer"):
        await v.pause(5)
        await v.fund(500)
        await v.pause(10)
        if v.dice.random() < 0.6:
            await v.fund(1_000_000)


async def extends_and_pays(v: Visit) -> None:
    await v.call("extend", {"ttlSeconds": 30}, 5)
    await v.pay()


async def pays_the_shops_own_intent(v: Visit) -> None:
    intent = await v.own_intent(named=v.dice.random() < 0.5)
    if await v.attach(paymentIntentId=intent):
        await v.pay_intent(intent, v.dice.choice(("card", "card", "declined")))


async def leaves_the_shops_own_intent(v: Visit) -> None:
    await v.attach(paymentIntentId=await v.own_intent())


async def pays_the_shops_own_page(v: Visit) -> None:
    page = await v.own_page(named=v.dice.random() < 0.5)
    if await v.attach(checkoutSessionId=page):
        await v.pay(page=page)


async def gives_back_the_shops_own_page(v: Visit) -> None:
    page = await v.own_page()
    await v.attach(checkoutSessionId=page)
    await asyncio.gather(v.end("release"), v.pay(page=page))


async def pays_the_shops_own_intent_slowly(v: Visit) -> None:
    """Stripe tells of its failure by `payment_intent.payment_failed` only, and of a waiting voucher by nothing."""
    intent = await v.own_intent(named=v.dice.random() < 0.5)
    how = "debit" if v.line["currency"] in _DEBITS else "voucher"
    if await v.attach(paymentIntentId=intent) and await v.pay_intent(intent, how):
        await v.pause(15)
        if await v.settle(ok=v.dice.random() < 0.4, intent=intent) and v.dice.random() < 0.3:
            await v.pay_intent(intent, how)  # tries again, where it failed


async def pays_the_shops_own_intent_slowly_and_gives_back(v: Visit) -> None:
    intent = await v.own_intent()
    await v.attach(paymentIntentId=intent)
    if await v.pay_intent(intent, "debit"):
        await v.end("release", patience=1)
        await v.pause(8)
        await v.settle(ok=v.dice.random() < 0.3, intent=intent)


async def swaps_the_shops_own_payment(v: Visit) -> None:
    first, second = await v.own_intent(named=v.dice.random() < 0.5), await v.own_page(named=v.dice.random() < 0.5)
    if not await v.attach(paymentIntentId=first):
        return
    if v.dice.random() < 0.3:
        await asyncio.gather(v.attach(checkoutSessionId=second, replace=True), v.pay_intent(first))
    elif await v.attach(checkoutSessionId=second, replace=True):
        await v.pay(v.dice.choice(("card", "card", "declined")), page=second)


async def swaps_the_page(v: Visit) -> None:
    second = await v.own_intent()
    if v.dice.random() < 0.3:
        await asyncio.gather(v.attach(paymentIntentId=second, replace=True), v.pay())
    elif await v.attach(paymentIntentId=second, replace=True):
        await v.pay_intent(second)


async def swaps_what_is_under_way(v: Visit) -> None:
    second = await v.own_page()
    if await v.pay("debit"):
        await v.attach(checkoutSessionId=second, replace=True)
        await v.pause(8)
        await v.settle(ok=v.dice.random() < 0.5)


async def expires_one_page_and_attaches_another(v: Visit) -> None:
    first, second = await v.own_page(), await v.own_page()
    if await v.attach(checkoutSessionId=first) and await v.expire(first):
        await v.pause(2)
        if await v.attach(checkoutSessionId=second):
            await v.pay(page=second)


async def pays_the_newer_of_two_pages_that_nobody_attached(v: Visit) -> None:
    older, newer = await v.own_page(), await v.own_page()
    await v.expire(older)
    await v.pause(3)
    await v.pay(page=newer)


async def pays_while_somebody_sends_an_empty_signal(v: Visit) -> None:
    """Somebody sends a signal without data from the Temporal UI."""
    name = v.dice.choice(("cancel", "payment_succeeded", "payment_failed", "payment_processing"))
    await asyncio.gather(v.signal_without_data(name), v.pay() if v.dice.random() < 0.7 else v.pause())


WISHES = (
    Wish(pays, 14),
    Wish(gets_it_free, 1, free=True),
    Wish(pays_after_declines, 5),
    Wish(is_declined_and_leaves, 3),
    Wish(pays_while_somebody_sends_unreadable_signals, 3),
    Wish(walks_away_while_somebody_sends_unreadable_signals, 2),
    Wish(authenticates, 4),
    Wish(leaves_while_authenticating, 2),
    Wish(walks_away, 7),
    Wish(gives_back, 5),
    Wish(pays_and_gives_back_at_once, 5),
    Wish(pays_at_the_deadline, 6),
    Wish(pays_too_late, 5, scarce=0.9),
    Wish(gives_back_and_pays_too_late, 6, scarce=0.9),
    Wish(pays_another_way_too_late, 2),
    Wish(pays_on_two_pages, 4),
    Wish(pays_the_page_and_another_way, 4),
    Wish(pays_by_debit, 4, _DEBITS),
    Wish(pays_by_debit_after_its_grace, 2, _DEBITS),
    Wish(pays_by_debit_and_gives_back, 2, _DEBITS),
    Wish(pays_by_voucher, 3, _VOUCHERS),
    Wish(forgets_the_voucher, 1, _VOUCHERS),
    Wish(is_captured, 4, fields=_MANUAL),
    Wish(is_authorised_and_gives_back, 3, fields=_MANUAL),
    Wish(is_authorised_too_late, 2, fields=_MANUAL),
    Wish(is_authorised_twice, 2, fields=_MANUAL),
    Wish(is_sold_by_the_shop, 2),
    Wish(is_sold_by_the_shop_and_pays, 3, fields=_CARD),
    Wish(comes_to_the_success_page_without_paying, 2),
    Wish(pays_and_comes_to_the_success_page, 4, fields=_CARD),
    Wish(pays_at_a_provider, 2, fields={"paymentMethodTypes": ["klarna"]}),
    Wish(pays_by_bank_transfer, 2, fields={"paymentMethodTypes": ["customer_balance"]}),
    Wish(extends_and_pays, 2),
    Wish(pays_the_shops_own_intent, 3, opens_page=False),
    Wish(leaves_the_shops_own_intent, 2, opens_page=False),
    Wish(pays_the_shops_own_page, 2, opens_page=False),
    Wish(gives_back_the_shops_own_page, 2, opens_page=False),
    Wish(pays_the_shops_own_intent_slowly, 4, (*_DEBITS, *_VOUCHERS), opens_page=False),
    Wish(pays_the_shops_own_intent_slowly_and_gives_back, 2, _DEBITS, opens_page=False),
    Wish(swaps_the_shops_own_payment, 3, opens_page=False),
    Wish(swaps_the_page, 2),
    Wish(swaps_what_is_under_way, 2, _DEBITS),
    Wish(expires_one_page_and_attaches_another, 2, opens_page=False),
    Wish(pays_the_newer_of_two_pages_that_nobody_attached, 2, opens_page=False),
    Wish(pays_while_somebody_sends_an_empty_signal, 3),
    *CART_WISHES,
)
