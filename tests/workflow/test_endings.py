"""Every ending of a hold."""

from tests.invariants import assert_stock_adds_up
from tests.stack import Stack


async def test_a_committed_hold_takes_its_stock_out_of_the_house(stack: Stack) -> None:
    await stack.put(10)
    hold = await stack.made(("TEE", 3))
    assert await stack.stock_of() == (7, 3)

    answer = await stack.post(hold["holdId"], "commit")

    assert answer.status_code == 200
    assert answer.json()["status"] == "committed"
    assert await stack.stock_of() == (7, 0)
    assert (await stack.run_of(hold["holdId"]).result()).status == "committed"
    await assert_stock_adds_up(stack.engine)
