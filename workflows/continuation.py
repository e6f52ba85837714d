"""A hold's run continues in a new one before it reaches Temporal's limits of one run: 2,000 updates, a long history."""

from dataclasses import replace

from workflows.changes import Changes
from workflows.extensions import Extension, Extensions
from workflows.hold_state import HoldState
from workflows.messages import Continued, HoldInput
from workflows.payment_steps import PaymentSteps


def next_input(
    hold: HoldInput, state: HoldState, steps: PaymentSteps, extensions: Extensions, changes: Changes
) -> HoldInput | None:
    """Return the input of the next run, or None while the run knows something that neither that input nor the row has.

    That is while something is under way: a payment, a cancel that waits for it, a session that is being opened.
    """
    carried = HoldState(
        state.deadline,
        attached=state.attached,
        page=state.page,
        closed=state.closed,
        failed=state.failed,
        detached=state.detached,
    )
    if steps.is_opening or state != carried:
        return None
    return replace(
        hold,
        lines=changes.lines,
        reference=changes.reference,
        buyer=changes.buyer,
        replaces=None,
        expires_at=state.deadline,
        attached=None,
        detached_before=(),  # `continued` has them
        continued=Continued(
            attached=state.attached,
            closed=state.closed,
            failed=tuple(sorted(state.failed)),
            extensions=tuple((each.request, each.deadline or state.deadline) for each in extensions.requests),
            checkout=steps.checkout,
            session_expires_at=steps.session_expires_at,
            page=state.page,
            page_closed=steps.page_closed,
            pages_of_changes=changes.pages,
            detached=tuple(state.detached),
        ),
    )


def restore(
    continued: Continued, state: HoldState, steps: PaymentSteps, extensions: Extensions, changes: Changes
) -> None:
    """Restore what the earlier run knew."""
    state.attached, state.page, state.closed = continued.attached, continued.page, continued.closed
    state.failed.update(continued.failed)
    state.detached += continued.detached
    extensions.requests += [Extension(request, deadline) for request, deadline in continued.extensions]
    steps.restore(continued.checkout, continued.session_expires_at, page_closed=continued.page_closed)
    changes.restore(continued.pages_of_changes)
