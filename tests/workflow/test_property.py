"""Whatever is said to holds, in whatever order and however much at once: the stock adds up and a hold ends once."""

import asyncio
import os
import uuid

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from temporalio.client import WorkflowUpdateFailedError
from temporalio.service import RPCError, RPCStatusCode

from dev.harness.invariants import assert_stock_adds_up
from domain.holds import Line
from domain.payments import Payment
from tests.examples import examples
from tests.stack import Stack
from tests.workflow.sending import Hold, held
from workflows.messages import Amend, AmendAnswer, Cancel, Commit, Ended, Extend, Extended, MadeWay, MakeWay
from workflows.payment_messages import PaymentFailed, PaymentProcessing

MESSAGES = (
    "commit",
    "release",
    "extend",
    "payment",
    "other payment",
    "processing",
    "cancel",
    "ui cancel",
    "failed",
    "payment event",
    "processing event",
    "failed event",
    "cancel event",
    "amend",
    "make way",
)
SCRIPTS = st.lists(st.lists(st.sampled_from(MESSAGES), min_size=1, max_size=6), min_size=2, max_size=10)


def amendment() -> Amend:
    """Return a change of the items to one of three carts."""
    request_id = uuid.uuid4().hex
    return Amend(request_id, request_id, "test", lines=(Line("TEE", "", int(request_id, 16) % 3 + 1),))


async def say(hold: Hold, message: str) -> str | None:
    """Send one message; returns the status that it told, None where it told none or the hold had ended before."""
    run = hold.handle
    signals: dict[str, tuple[str, object]] = {
        "payment": ("payment_succeeded", Payment("pi_1")),
        "other payment": ("payment_succeeded", Payment("pi_2")),
        "processing": ("payment_processing", PaymentProcessing(Payment("pi_3"), 60)),
        "failed": ("payment_failed", PaymentFailed(Payment("pi_3"), "evt_1")),
        "cancel": ("cancel", Cancel("test")),
    }
    updates: dict[str, tuple[object, type]] = {
        "commit": (Commit("test"), Ended),
        "release": (Cancel("test"), Ended),
        "extend": (Extend(60), Extended),
        "amend": (amendment(), AmendAnswer),
        "make way": (MakeWay(uuid.uuid4().hex), MadeWay),
    }
    try:
        if message in signals:
            await run.signal(*signals[message])
        elif message.removesuffix(" event") in signals:
            await run.execute_update(*signals[message.removesuffix(" event")])
        elif message in updates:
            argument, answers = updates[message]
            answer = await run.execute_update(message.replace(" ", "_"), argument, result_type=answers)
            return answer.status if isinstance(answer, Ended) else answer.ended
        else:
            await run.cancel()
    except RPCError as error:
        # The run's task has to be done again first: asked again, as the API does.
        return await say(hold, message) if error.status is RPCStatusCode.FAILED_PRECONDITION else None
    except WorkflowUpdateFailedError:
        return None
    return None


async def test_any_messages_in_any_order_end_each_hold_once(stack: Stack) -> None:
    await stack.put(1000)

    async def play(hold: Hold, script: list[str]) -> None:
        told = set(await asyncio.gather(*(say(hold, message) for message in [*script, "commit"])))
        ended = await hold.handle.result()
        row = await stack.read(hold.hold_id)
        assert ended == Ended(row["status"])
        assert told <= {row["status"], None}, script
        if not {"release", "cancel", "cancel event", "ui cancel"} & set(script):
            assert row["status"] == "committed", script

    async def one_example(scripts: list[list[str]]) -> None:
        holds = await held(stack, len(scripts))
        await asyncio.gather(*(play(hold, script) for hold, script in zip(holds, scripts, strict=True)))
        await assert_stock_adds_up(stack.engine)

    loop = asyncio.get_running_loop()

    @settings(
        max_examples=examples(6),
        deadline=None,
        derandomize="CI" in os.environ,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(scripts=SCRIPTS)
    def each_ends_once(scripts: list[list[str]]) -> None:
        asyncio.run_coroutine_threadsafe(one_example(scripts), loop).result()

    await asyncio.to_thread(each_ends_once)
